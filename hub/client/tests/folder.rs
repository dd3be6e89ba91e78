//! A member's folder on disk.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use yiwang_client::folder::{Folder, FolderError};
use yiwang_client::token::{EnrolToken, TokenError};
use yiwang_proto::ambient::{ManualClock, SeededEntropy};
use yiwang_proto::checkpoint::Checkpoint;
use yiwang_proto::delegation::Role;
use yiwang_proto::ids::{AppId, MemberId};
use yiwang_proto::merkle::EMPTY_ROOT;
use yiwang_proto::note::SignerKey;

const NOW_MS: i64 = 1_795_000_000_000;
const ORIGIN: &str = "city.example/ledger";

fn init(dir: &Path, seed: u64) -> Result<Folder, FolderError> {
    let member = MemberId::parse("police").unwrap();
    Folder::init(dir, &member, "Police", &SeededEntropy::new(seed), &ManualClock::new(NOW_MS))
}

fn app(name: &str) -> AppId {
    AppId::parse(name).unwrap()
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

/// Writes the lines that enrolment adds.
fn pretend_enrolled(dir: &Path, key: &SignerKey) -> Folder {
    let path = dir.join("member.toml");
    let mut text = std::fs::read_to_string(&path).unwrap();
    text.push_str(&format!(
        "hub = \"hub.city.example:443\"\norigin = \"{ORIGIN}\"\nverifier_key = \"{}\"\n\
         trust_domain = \"city.example\"\n",
        key.verifier()
    ));
    std::fs::write(&path, text).unwrap();
    Folder::open(dir).unwrap()
}

#[test]
fn keys_are_made_once_and_for_their_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    let folder = init(dir.path(), 1).unwrap();
    assert_eq!(folder.root_key().unwrap().public(), folder.root_public());
    assert!(matches!(init(dir.path(), 2), Err(FolderError::Exists(_))));
    folder.delegate(Role::App, &app("desk"), 0, 1000, &SeededEntropy::new(2)).unwrap();
    for name in ["root.key", "next-root.key", "tags.key", "keys/app-desk.key"] {
        let path = dir.path().join(name);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
    // A folder from which only the configuration vanished does not lose its root to a second init.
    std::fs::remove_file(dir.path().join("member.toml")).unwrap();
    assert!(matches!(init(dir.path(), 2), Err(FolderError::Exists(_))));
}

#[test]
fn key_files_that_others_can_read_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let folder = init(dir.path(), 1).unwrap();
    let desk = app("desk");
    folder.delegate(Role::App, &desk, 0, 1000, &SeededEntropy::new(2)).unwrap();
    for mode in [0o640, 0o604, 0o620, 0o644, 0o666] {
        for name in ["root.key", "tags.key", "keys/app-desk.key"] {
            chmod(&dir.path().join(name), mode);
        }
        let results =
            [folder.root_key().err(), folder.tag_key().err(), folder.load_key(Role::App, &desk).err()];
        for error in results {
            let error = error.unwrap();
            assert!(matches!(error, FolderError::Exposed { .. }) && error.to_string().contains("chmod 600"));
        }
    }
    for mode in [0o600, 0o400] {
        chmod(&dir.path().join("root.key"), mode);
        assert!(folder.root_key().is_ok());
    }
}

#[test]
fn each_delegation_has_a_serial_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let folder = init(dir.path(), 1).unwrap();
    let entropy = SeededEntropy::new(2);
    folder.delegate(Role::App, &app("desk"), 0, 1000, &entropy).unwrap();
    let first_key = folder.load_key(Role::App, &app("desk")).unwrap().public();
    folder.delegate(Role::Adapter, &app("desk"), 0, 1000, &entropy).unwrap();
    let again = Folder::open(dir.path()).unwrap();
    again.delegate(Role::App, &app("desk"), 500, 2000, &entropy).unwrap();

    let (_, delegation) = folder.load_delegation(Role::App, &app("desk")).unwrap();
    assert_eq!((delegation.serial, delegation.valid_until_ms), (3, 2000));
    assert_eq!(delegation.key, first_key, "the key stays, its delegation is new");
    assert_eq!(folder.load_delegation(Role::Adapter, &app("desk")).unwrap().1.serial, 2);
    std::fs::write(dir.path().join("serial"), "x").unwrap();
    assert!(folder.delegate(Role::App, &app("desk"), 0, 1, &entropy).is_err(), "no number is used twice");
}

#[test]
fn serials_of_many_threads_never_meet() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path(), 1).unwrap();
    let mut serials: Vec<u64> = std::thread::scope(|scope| {
        let work = |n: u64| {
            let folder = Folder::open(dir.path()).unwrap();
            let name = app(&format!("desk-{n}"));
            folder.delegate(Role::App, &name, 0, 1000, &SeededEntropy::new(n)).unwrap();
            folder.load_delegation(Role::App, &name).unwrap().1.serial
        };
        let threads: Vec<_> = (0..8).map(|n| scope.spawn(move || work(n))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    serials.sort_unstable();
    assert_eq!(serials, [1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn the_folder_works_without_its_root_but_signs_nothing_new() {
    let dir = tempfile::tempdir().unwrap();
    let folder = init(dir.path(), 1).unwrap();
    let desk = app("desk");
    folder.delegate(Role::App, &desk, 0, 1000, &SeededEntropy::new(2)).unwrap();
    for name in ["root.key", "next-root.key"] {
        std::fs::remove_file(dir.path().join(name)).unwrap();
    }
    let folder = Folder::open(dir.path()).unwrap();
    assert!(folder.load_delegation(Role::App, &desk).is_ok() && folder.load_key(Role::App, &desk).is_ok());
    assert!(folder.delegate(Role::App, &desk, 0, 1000, &SeededEntropy::new(3)).is_err());
}

#[test]
fn foreign_and_misplaced_delegations_are_refused() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (folder, foreign) = (init(dir.path(), 1).unwrap(), init(other.path(), 9).unwrap());
    let entropy = SeededEntropy::new(2);
    let theirs = foreign.delegate(Role::App, &app("desk"), 0, 1000, &entropy).unwrap();
    assert!(matches!(folder.save_delegation(&theirs), Err(FolderError::Delegation(_))));
    let delegations = dir.path().join("delegations");
    std::fs::write(delegations.join("app-desk.json"), theirs.bytes()).unwrap();
    assert!(folder.load_delegation(Role::App, &app("desk")).is_err());
    folder.delegate(Role::App, &app("desk"), 0, 1000, &entropy).unwrap();
    std::fs::copy(delegations.join("app-desk.json"), delegations.join("adapter-desk.json")).unwrap();
    assert!(matches!(folder.load_delegation(Role::Adapter, &app("desk")), Err(FolderError::Content { .. })));
}

#[test]
fn a_configuration_is_whole_known_and_of_its_card() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path(), 1).unwrap();
    let path = dir.path().join("member.toml");
    let good = std::fs::read_to_string(&path).unwrap();
    for bad in [
        format!("{good}colour = \"red\"\n"),
        format!("{good}hub = \"hub.city.example:443\"\n"),
        good.replace("member/1", "member/2"),
        good.replace("\"police\"", "\"health\""),
        good.replace("\"police\"", "\"Police\""),
        "x".repeat(20_000),
        String::new(),
    ] {
        std::fs::write(&path, &bad).unwrap();
        assert!(Folder::open(dir.path()).is_err(), "{bad:.80}");
    }
    std::fs::write(&path, good).unwrap();
    assert!(Folder::open(dir.path()).is_ok());
}

#[test]
fn heads_only_grow_and_two_histories_are_an_alarm() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path(), 1).unwrap();
    let key = SignerKey::from_seed(ORIGIN, &[1; 32]).unwrap();
    let folder = pretend_enrolled(dir.path(), &key);
    let enrolled = folder.enrolled().unwrap();
    let head = |size, root| Checkpoint::new(ORIGIN, size, root).unwrap().sign(&key).unwrap();
    assert!(enrolled.checkpoint().unwrap().is_none());
    enrolled.keep_checkpoint(head(0, EMPTY_ROOT).as_bytes()).unwrap();
    enrolled.keep_checkpoint(head(7, [7; 32]).as_bytes()).unwrap();
    assert_eq!(enrolled.keep_checkpoint(head(5, [5; 32]).as_bytes()).unwrap().size, 7, "never back");
    assert_eq!(enrolled.checkpoint().unwrap().unwrap().0.size, 7);
    let fork = enrolled.keep_checkpoint(head(7, [8; 32]).as_bytes());
    assert!(matches!(fork, Err(FolderError::Fork { kept: 7, shown: 7 })));

    let forger = SignerKey::from_seed(ORIGIN, &[2; 32]).unwrap();
    let forged = Checkpoint::new(ORIGIN, 9, [9; 32]).unwrap().sign(&forger).unwrap();
    assert!(matches!(enrolled.keep_checkpoint(forged.as_bytes()), Err(FolderError::Checkpoint(_))));
    let mut damaged = std::fs::read(dir.path().join("checkpoint")).unwrap();
    damaged.truncate(damaged.len() - 9);
    std::fs::write(dir.path().join("checkpoint"), damaged).unwrap();
    assert!(matches!(enrolled.checkpoint(), Err(FolderError::Checkpoint(_))), "damage is not a missing head");
}

#[test]
fn a_token_is_whole_or_nothing() {
    for bad in ["", "x", "yiwang-enrol-1.", "yiwang-enrol-1.e30", "yiwang-enrol-2.e30", "yiwang-enrol-1.%%"] {
        assert_eq!(EnrolToken::parse(bad).unwrap_err(), TokenError::Form, "{bad}");
    }
    assert!(EnrolToken::parse(&format!("yiwang-enrol-1.{}", "A".repeat(100_000))).is_err());
}
