//! A member goes on under its next root: what its folder has then, and what it has where the change was cut off.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::{Path, PathBuf};
use yiwang_client::folder::{Folder, FolderError};
use yiwang_proto::ambient::{ManualClock, SeededEntropy};
use yiwang_proto::delegation::Role;
use yiwang_proto::ids::{AppId, MemberId};
use yiwang_proto::member::MemberCard;
use yiwang_proto::revocation::Revoked;

const NOW_MS: i64 = 1_795_000_000_000;
const KEYS: [&str; 2] = ["root.key", "next-root.key"];
const COMING: &str = "coming-root.key";

fn desk() -> AppId {
    AppId::parse("desk").unwrap()
}

fn init(dir: &Path) -> Folder {
    let member = MemberId::parse("police").unwrap();
    let folder =
        Folder::init(dir, &member, "Police", &SeededEntropy::new(1), &ManualClock::new(NOW_MS)).unwrap();
    folder.delegate(Role::App, &desk(), 0, 1000, &SeededEntropy::new(2)).unwrap();
    folder
}

fn rotate(folder: &mut Folder, seed: u64) -> Result<(), FolderError> {
    // A clock that is behind that of the card before makes no card that a hub would refuse as older.
    folder.rotate_root(&SeededEntropy::new(seed), &ManualClock::new(NOW_MS - 5000))
}

fn key_of(dir: &Path, name: &str) -> String {
    std::fs::read_to_string(dir.join(name)).unwrap()
}

fn copy(from: &Path, to: &Path) {
    let done = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(done.success());
}

fn former_of(dir: &Path) -> PathBuf {
    let mut found: Vec<_> =
        std::fs::read_dir(dir.join("former")).unwrap().map(|one| one.unwrap().path()).collect();
    assert_eq!(found.len(), 1);
    found.remove(0)
}

/// The folder is whole and under `root`, with `next` announced; nothing of before is lost.
fn is_whole(dir: &Path, keys: &[String; 2], before: &[String; 2]) {
    let mut folder = Folder::open(dir).unwrap();
    assert_eq!(KEYS.map(|name| key_of(dir, name)), *keys);
    assert!(!dir.join(COMING).exists());
    assert_eq!(folder.root_key().unwrap().public(), folder.root_public());
    assert!(folder.delegated(Role::App).unwrap().is_empty(), "what the root before delegated counts no more");
    let former = former_of(dir);
    assert_eq!(key_of(&former, "root.key"), before[0]);
    for name in ["app-desk.json", "app-desk.key", "card.json"] {
        assert!(former.join(name).exists(), "{name}");
    }
    // It announces the key that it has: it can go on once more.
    rotate(&mut folder, 77).unwrap();
    assert_eq!(key_of(dir, "root.key"), keys[1]);
}

#[test]
fn a_member_goes_on_under_the_root_that_its_card_announced() {
    let dir = tempfile::tempdir().unwrap();
    let mut folder = init(dir.path());
    let (old_root, before) = (folder.root_public(), KEYS.map(|name| key_of(dir.path(), name)));
    let announced = MemberCard::open(folder.card()).unwrap().next_root_digest;
    let old_key = folder.load_key(Role::App, &desk()).unwrap().public();
    rotate(&mut folder, 3).unwrap();
    assert_eq!(yiwang_proto::sha256(folder.root_public().as_bytes()), announced);
    assert_eq!(key_of(dir.path(), "root.key"), before[1]);
    assert_ne!(key_of(dir.path(), "next-root.key"), before[1]);
    let card = MemberCard::open(folder.card()).unwrap();
    assert_eq!((card.issued_at_ms, card.display_name.as_str()), (NOW_MS, "Police"));

    assert!(folder.load_key(Role::App, &desk()).is_err(), "nobody uses the old keys any more");
    folder.delegate(Role::App, &desk(), 0, 1000, &SeededEntropy::new(4)).unwrap();
    let (_, delegation) = folder.load_delegation(Role::App, &desk()).unwrap();
    assert_ne!(delegation.key, old_key);
    assert_eq!(delegation.serial, 2, "no serial comes twice");
    assert_ne!(delegation.root, old_root);
    std::fs::remove_file(dir.path().join("delegations/app-desk.json")).unwrap();
    // What it had before is known by its card, and a card that is spoilt keeps nobody from anything.
    assert_eq!(folder.former_roots().unwrap(), [old_root]);
    let card = former_of(dir.path()).join("card.json");
    let text = std::fs::read(&card).unwrap();
    std::fs::write(&card, "{").unwrap();
    assert_eq!(folder.former_roots().unwrap(), []);
    std::fs::write(&card, text).unwrap();
    let after = KEYS.map(|name| key_of(dir.path(), name));
    is_whole(dir.path(), &after, &before);
}

#[test]
fn a_change_that_was_cut_off_anywhere_is_ended_by_the_next_call() {
    let base = tempfile::tempdir().unwrap();
    let (before, after) = (base.path().join("before"), base.path().join("after"));
    init(&before);
    copy(&before, &after);
    rotate(&mut Folder::open(&after).unwrap(), 3).unwrap();
    let (old, new) = (KEYS.map(|name| key_of(&before, name)), KEYS.map(|name| key_of(&after, name)));
    // After each step: which files are those of after it. What the change copies before the card is copied again.
    let steps: [&[&str]; 5] = [
        &[],
        &["card.json"],
        &["card.json", "former"],
        &["card.json", "former", KEYS[0]],
        &["former", "card.json", KEYS[0], KEYS[1]],
    ];
    for (step, done) in steps.iter().enumerate() {
        let dir = base.path().join(format!("step-{step}"));
        copy(&before, &dir);
        std::fs::copy(after.join(KEYS[1]), dir.join(COMING)).unwrap();
        for name in *done {
            copy(&after.join(name), &dir);
        }
        if done.contains(&"card.json") && !done.contains(&"former") {
            // Copied before the card is replaced.
            let former = former_of(&after);
            std::fs::create_dir_all(dir.join("former").join(former.file_name().unwrap())).unwrap();
            for name in ["card.json", "root.key"] {
                std::fs::copy(former.join(name), former_of(&dir).join(name)).unwrap();
            }
        }
        if done.contains(&"former") {
            std::fs::remove_file(dir.join("delegations/app-desk.json")).unwrap();
            std::fs::remove_file(dir.join("keys/app-desk.key")).unwrap();
        }
        let mut folder = Folder::open(&dir).unwrap();
        let told = folder.root_key().err().map(|error| error.to_string());
        assert_eq!(
            told.as_ref().is_some_and(|words| words.contains("end it with `yiwang member rotate-root`")),
            done.contains(&"card.json") && !done.contains(&KEYS[0]),
            "step {step}: {told:?}"
        );
        rotate(&mut folder, 99).unwrap();
        is_whole(&dir, &new, &old);
    }
}

/// Of two changes a hub would see the second only, and a card that follows none that it has.
#[test]
fn an_enrolled_member_goes_no_further_until_the_hub_has_its_card() {
    let dir = tempfile::tempdir().unwrap();
    let mut folder = init(dir.path());
    assert_eq!(folder.known_root().unwrap(), None);
    // Not enrolled: no hub knows any card.
    for seed in [3, 4] {
        rotate(&mut folder, seed).unwrap();
    }
    let path = dir.path().join("member.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let signer = yiwang_proto::note::SignerKey::from_seed("city.example/ledger", &[7; 32]).unwrap();
    let key = signer.verifier();
    let lines = format!(
        "hub = \"hub.city.example:443\"\norigin = \"city.example/ledger\"\nverifier_key = \"{key}\"\n\
         trust_domain = \"city.example\"\n"
    );
    std::fs::write(&path, text + &lines).unwrap();
    std::fs::remove_file(dir.path().join("known-root")).unwrap();
    let mut folder = Folder::open(dir.path()).unwrap();
    let known = folder.root_public();
    rotate(&mut folder, 5).unwrap();
    assert_eq!(folder.known_root().unwrap(), Some(known));
    let (card, keys) = (folder.card().bytes().clone(), KEYS.map(|name| key_of(dir.path(), name)));
    let refused = rotate(&mut folder, 6).unwrap_err();
    assert!(matches!(refused, FolderError::CardNotEntered(_)));
    assert!(refused.to_string().contains("`yiwang member enrol` first"));
    assert_eq!((folder.card().bytes(), KEYS.map(|name| key_of(dir.path(), name))), (&card, keys));
}

#[test]
fn only_the_announced_root_comes_next_and_a_lost_one_is_not_needed() {
    let dir = tempfile::tempdir().unwrap();
    let mut folder = init(dir.path());
    let next = dir.path().join(KEYS[1]);
    let (right, card) = (std::fs::read(&next).unwrap(), std::fs::read(dir.path().join("card.json")).unwrap());
    for wrong in [None, Some("x\n"), Some("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n")] {
        match wrong {
            None => std::fs::remove_file(&next).unwrap(),
            Some(text) => {
                std::fs::write(&next, text).unwrap();
                std::fs::set_permissions(&next, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
            }
        }
        let words = rotate(&mut folder, 3).unwrap_err().to_string();
        assert!(words.contains("next-root.key"), "{words}");
        assert_eq!(std::fs::read(dir.path().join("card.json")).unwrap(), card);
        assert!(!dir.path().join(COMING).exists());
    }
    std::fs::write(&next, right).unwrap();
    std::fs::remove_file(dir.path().join(KEYS[0])).unwrap();
    rotate(&mut folder, 3).unwrap();
    assert_eq!(folder.root_key().unwrap().public(), folder.root_public());
}

#[test]
fn a_key_that_was_taken_back_has_no_role_again() {
    let dir = tempfile::tempdir().unwrap();
    let folder = init(dir.path());
    let (_, delegation) = folder.load_delegation(Role::App, &desk()).unwrap();
    folder.revoke(&Revoked { delegations: [delegation.digest].into(), ..Revoked::default() }).unwrap();
    let refused = folder.delegate(Role::App, &desk(), 0, 2000, &SeededEntropy::new(5)).unwrap_err();
    assert!(matches!(refused, FolderError::KeyTakenBack(_)) && refused.to_string().contains("`--new-key`"));
    assert_eq!(folder.load_delegation(Role::App, &desk()).unwrap().1.digest, delegation.digest);
    folder.delegate_new(Role::App, &desk(), 0, 2000, &SeededEntropy::new(5)).unwrap();
    let (_, new) = folder.load_delegation(Role::App, &desk()).unwrap();
    assert_ne!(new.key, delegation.key);
    assert_eq!(folder.load_key(Role::App, &desk()).unwrap().public(), new.key);
    // From now on it is renewed as ever; and without the root the key that is there stays.
    folder.delegate(Role::App, &desk(), 0, 3000, &SeededEntropy::new(6)).unwrap();
    std::fs::remove_file(dir.path().join(KEYS[0])).unwrap();
    assert!(folder.delegate_new(Role::App, &desk(), 0, 4000, &SeededEntropy::new(7)).is_err());
    assert_eq!(folder.load_key(Role::App, &desk()).unwrap().public(), new.key);
}
