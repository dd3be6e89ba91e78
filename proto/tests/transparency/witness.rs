//! Witnesses: policy files and `add-checkpoint`, and the judge `signed_note` over cosigned checkpoints.

use crate::support::{ORIGIN, leaves, naive_root, signer, stored};
use proptest::prelude::*;
use signed_note::{Note, StandardVerifier, VerifierList};
use yiwang_proto::checkpoint::{Checkpoint, CheckpointError};
use yiwang_proto::merkle::{EMPTY_ROOT, consistency_proof};
use yiwang_proto::note::{CosignerKey, SignerKey, VerifierKey};
use yiwang_proto::witness::{
    AddCheckpoint, ForkEvidence, Judged, RawPolicy, Recorded, Refused, WitnessPolicy, add_lines, parse_lines,
};

fn witness(number: u8) -> CosignerKey {
    CosignerKey::from_seed(&format!("witness.example/w{number}"), &[100 + number; 32]).unwrap()
}

fn head(size: u64) -> Checkpoint {
    Checkpoint::new(ORIGIN, size, naive_root(&leaves(size))).unwrap()
}

fn other_head(size: u64) -> Checkpoint {
    Checkpoint::new(ORIGIN, size, [9; 32]).unwrap()
}

fn signed(head: &Checkpoint) -> String {
    head.sign(&signer()).unwrap()
}

fn cosigned(head: &Checkpoint, by: &[u8]) -> String {
    let note = signed(head);
    let lines: Vec<_> =
        by.iter().map(|number| witness(*number).cosign(&head.text(), 1_790_000_000)).collect();
    add_lines(note.as_bytes(), &lines).unwrap()
}

fn policy_text() -> String {
    let mut text = format!("# the city's ledger\nlog {}\n\n", signer().verifier());
    for number in 1..=6 {
        text += &format!("witness W{number}\t{} https://w{number}.example/\n", witness(number).verifier());
    }
    text + "group X 2 W1 W2 W3\n  group Y any W4 W5 W6\ngroup both all X Y\nquorum both\n"
}

fn policy() -> WitnessPolicy {
    WitnessPolicy::parse(policy_text().as_bytes()).unwrap()
}

fn call(old_size: u64, from: u64, head: &Checkpoint) -> AddCheckpoint {
    let (_, store) = stored(&leaves(head.size));
    let proof = if from == 0 { Vec::new() } else { consistency_proof(&store, from, head.size).unwrap() };
    AddCheckpoint { old_size, proof, checkpoint: signed(head) }
}

fn recorded(head: &Checkpoint) -> Recorded {
    Recorded { checkpoint: head.clone(), note: signed(head) }
}

fn judge(call: &AddCheckpoint, recorded: Option<&Recorded>) -> Judged {
    call.judge(recorded, signer().verifier(), ORIGIN)
}

fn refused(call: &AddCheckpoint, recorded: Option<&Recorded>) -> Refused {
    match judge(call, recorded) {
        Judged::Refused(refused) => refused,
        Judged::Cosign(record) => panic!("cosigned {record:?}"),
    }
}

/// The standard's own words about a cosignature, written without a look at ours.
struct TheirCosigner(String, u32, ed25519_dalek::VerifyingKey);

impl signed_note::Verifier for TheirCosigner {
    fn name(&self) -> &str {
        &self.0
    }

    fn key_id(&self) -> u32 {
        self.1
    }

    fn verify(&self, text: &[u8], signature: &[u8]) -> bool {
        let (time, signature) = signature.split_at(8);
        let time = u64::from_be_bytes(time.try_into().unwrap());
        let mut message = format!("cosignature/v1\ntime {time}\n").into_bytes();
        message.extend_from_slice(text);
        let signature = ed25519_dalek::Signature::from_slice(signature).unwrap();
        ed25519_dalek::Verifier::verify(&self.2, &message, &signature).is_ok()
    }
}

/// A judge of another hand opens our checkpoint with the log's and three witnesses' lines.
#[test]
fn they_accept_our_cosigned_checkpoints() {
    let note = cosigned(&head(300), &[1, 3, 6]);
    let log = StandardVerifier::new(&signer().verifier().to_string()).unwrap();
    let mut list: Vec<Box<dyn signed_note::Verifier>> = vec![Box::new(log)];
    for number in [1, 3, 6] {
        let key = witness(number).verifier().clone();
        let bytes: [u8; 32] = key.public_key().try_into().unwrap();
        // Their key id over name and algorithm byte 04, not the one that our vkey states.
        let id = signed_note::key_id(key.name(), &[&[4], &bytes[..]].concat());
        assert_eq!(id, key.id());
        let verifying = ed25519_dalek::VerifyingKey::from_bytes(&bytes).unwrap();
        list.push(Box::new(TheirCosigner(key.name().to_owned(), id, verifying)));
    }
    let (good, unknown) =
        Note::from_bytes(note.as_bytes()).unwrap().verify(&VerifierList::new(list)).unwrap();
    assert_eq!((good.len(), unknown.len()), (4, 0));
    let witnessed = policy().open(note.as_bytes(), signer().verifier(), ORIGIN).unwrap();
    assert_eq!(witnessed.witnesses, ["W1", "W3", "W6"]);
    assert_eq!(witnessed.newest_s, Some(1_790_000_000));
}

#[test]
fn the_quorum_counts_groups_and_nothing_else() {
    let open = |by: &[u8]| policy().open(cosigned(&head(20), by).as_bytes(), signer().verifier(), ORIGIN);
    for good in [&[1, 2, 4][..], &[2, 3, 5], &[1, 2, 3, 4, 5, 6]] {
        assert!(open(good).is_ok(), "{good:?}");
    }
    for bad in [&[][..], &[1, 2], &[1, 4], &[1, 2, 3], &[4, 5, 6], &[1, 5, 6]] {
        assert!(matches!(open(bad), Err(CheckpointError::Quorum { fewest: 3, .. })), "{bad:?}");
    }
    // A stranger's cosignature, and one over another text, count for nothing; a bad line of a known key
    // refuses the note.
    let strange = cosigned(&head(20), &[1, 2, 77]);
    assert!(policy().open(strange.as_bytes(), signer().verifier(), ORIGIN).is_err());
    let moved = witness(4).cosign(&head(21).text(), 5);
    let moved = add_lines(cosigned(&head(20), &[1, 2]).as_bytes(), &[moved]).unwrap();
    let refused = policy().open(moved.as_bytes(), signer().verifier(), ORIGIN);
    assert!(matches!(refused, Err(CheckpointError::Note(_))), "{refused:?}");
    let other = SignerKey::from_seed(ORIGIN, &[8; 32]).unwrap();
    assert!(policy().open(cosigned(&head(20), &[1, 2, 4]).as_bytes(), other.verifier(), ORIGIN).is_err());
    let none = WitnessPolicy::parse(b"quorum none\n").unwrap();
    assert!(none.open(signed(&head(20)).as_bytes(), signer().verifier(), ORIGIN).is_ok());
    assert_eq!((none.fewest(), policy().fewest()), (0, 3));
}

/// One key under two names, or two lines of one key, is one witness.
#[test]
fn a_witness_counts_once() {
    let twice = format!("witness A {0}\nwitness B {0}\ngroup G all A B\nquorum G\n", witness(1).verifier());
    assert!(WitnessPolicy::parse(twice.as_bytes()).is_err());
    let renamed =
        VerifierKey::cosigner("other.example", witness(1).verifier().public_key().try_into().unwrap());
    let twice = format!(
        "witness A {}\nwitness B {}\ngroup G all A B\nquorum G\n",
        witness(1).verifier(),
        renamed.unwrap()
    );
    assert!(WitnessPolicy::parse(twice.as_bytes()).is_err());
    let two = format!(
        "witness A {}\nwitness B {}\ngroup G all A B\nquorum G\n",
        witness(1).verifier(),
        witness(2).verifier()
    );
    let two = WitnessPolicy::parse(two.as_bytes()).unwrap();
    let note = signed(&head(3)) + &format!("{0}\n{0}\n", witness(1).cosign(&head(3).text(), 5));
    assert!(two.open(note.as_bytes(), signer().verifier(), ORIGIN).is_err());
}

#[test]
fn malformed_policies_name_every_fault() {
    let faults = |text: &str| match WitnessPolicy::parse(text.as_bytes()) {
        Ok(_) => panic!("accepted: {text}"),
        Err(faults) => faults.iter().map(|fault| (fault.line, fault.what.clone())).collect::<Vec<_>>(),
    };
    let (w1, w2) = (witness(1), witness(2));
    let (w1, w2, log) = (w1.verifier(), w2.verifier(), signer());
    let log = log.verifier();
    let bad = [
        "",
        "quorum none",
        "quorum none\r\n",
        "quorum none\nquorum none\n",
        "quorum W1\n",
        "witnesses\nquorum none\n",
        "group G any none\nquorum G\n",
        &format!("witness none {w1}\nquorum none\n"),
        &format!("witness A {log}\nquorum A\n"),
        &format!("log {w1}\nquorum none\n"),
        &format!("log {log}\nlog {log} url\nquorum none\n"),
        &format!("witness A {w1}\nwitness A {w2}\nquorum A\n"),
        &format!("witness A {w1}\ngroup G 0 A\nquorum G\n"),
        &format!("witness A {w1}\ngroup G 2 A\nquorum G\n"),
        &format!("witness A {w1}\ngroup G 01 A\nquorum G\n"),
        &format!("witness A {w1}\ngroup G all A A\nquorum G\n"),
        &format!("witness A {w1}\ngroup G any A\ngroup H any A\nquorum H\n"),
        &format!("group G any A\nwitness A {w1}\nquorum G\n"),
        &format!("witness A {w1} url more\nquorum A\n"),
        &format!("witness A {w1}\n"),
    ];
    for text in bad {
        assert!(!faults(text).is_empty(), "{text}");
    }
    let own = VerifierKey::cosigner("w.example", log.public_key().try_into().unwrap()).unwrap();
    let vouching = faults(&format!("log {log}\nwitness A {own}\nquorum A\n"));
    assert!(vouching[0].1.contains("vouch"), "{vouching:?}");
    let many = faults("log x\nwitness y z\ngroup\nquorum q\n");
    assert_eq!(many.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 2, 3, 4]);
    let too_many: String = (0..70).map(|n| format!("witness w{n} {}\n", witness(n).verifier())).collect();
    assert!(!faults(&(too_many + "quorum none\n")).is_empty());
    assert!(RawPolicy::read(&vec![b' '; 1 << 20]).is_err());
    assert!(
        RawPolicy::read(b"# \xe7\xbd\x91 \xff\nquorum none\n").unwrap().check().is_ok(),
        "octets are opaque"
    );
}

#[test]
fn a_call_prints_back_and_every_status_has_its_cause() {
    let (ten, twenty) = (head(10), head(20));
    let good = call(10, 10, &twenty);
    assert_eq!(AddCheckpoint::parse(good.to_string().as_bytes()).unwrap(), good);
    // 200: first contact from nothing, growth, and the same head again.
    assert_eq!(judge(&call(0, 0, &ten), None), Judged::Cosign(recorded(&ten)));
    assert_eq!(judge(&good, Some(&recorded(&ten))), Judged::Cosign(recorded(&twenty)));
    assert_eq!(judge(&call(10, 10, &ten), Some(&recorded(&ten))), Judged::Cosign(recorded(&ten)));
    // 400: larger old size, no checkpoint.
    assert_eq!(refused(&AddCheckpoint { old_size: 30, ..good.clone() }, Some(&recorded(&ten))).status, 400);
    let no_note = AddCheckpoint { checkpoint: "text\n".to_owned(), ..good.clone() };
    assert_eq!(refused(&no_note, None).status, 400);
    // 403: another key under the origin.
    let stranger = SignerKey::from_seed(ORIGIN, &[8; 32]).unwrap();
    let forged = AddCheckpoint { checkpoint: twenty.sign(&stranger).unwrap(), ..good.clone() };
    assert_eq!(refused(&forged, Some(&recorded(&ten))).status, 403);
    // 404: another origin, whoever signed it.
    let elsewhere = Checkpoint::new("log.example/other", 20, twenty.root).unwrap().sign(&signer()).unwrap();
    assert_eq!(refused(&AddCheckpoint { checkpoint: elsewhere, ..good.clone() }, None).status, 404);
    // 409: what is recorded is another size; the body says which.
    let conflict = refused(&good, Some(&recorded(&head(15))));
    assert_eq!((conflict.status, conflict.body.as_str(), conflict.fork), (409, "15\n", false));
    assert_eq!(refused(&good, None).body, "0\n");
    // 422: a proof that does not hold, one too many, another root of the same size, a size 0 that is not empty.
    let mut bent = good.clone();
    bent.proof[0][3] ^= 1;
    let unproved = refused(&bent, Some(&recorded(&ten)));
    assert_eq!((unproved.status, unproved.fork), (422, true));
    let fork = AddCheckpoint { old_size: 10, proof: Vec::new(), checkpoint: signed(&other_head(10)) };
    assert_eq!(refused(&fork, Some(&recorded(&ten))).status, 422);
    let with_proof = AddCheckpoint { old_size: 0, ..good.clone() };
    assert_eq!(refused(&with_proof, None).status, 422, "from 0 the proof is empty");
    let not_empty = format!("{ORIGIN}\n0\n{}\n", yiwang_proto::merkle::hash_to_base64(&[1; 32]));
    let not_empty = yiwang_proto::note::sign_note(&not_empty, &signer()).unwrap();
    let zero = AddCheckpoint { old_size: 0, proof: Vec::new(), checkpoint: not_empty };
    assert_eq!(refused(&zero, None).status, 422);
    let empty = Checkpoint::new(ORIGIN, 0, EMPTY_ROOT).unwrap();
    assert_eq!(judge(&call(0, 0, &empty), None), Judged::Cosign(recorded(&empty)));
}

#[test]
fn malformed_calls_are_refused() {
    let good = call(10, 10, &head(20)).to_string();
    assert!(AddCheckpoint::parse(good.as_bytes()).is_ok());
    for (from, to) in
        [("old 10", "old 010"), ("old 10", "old +10"), ("old 10", "10"), ("\n\n", "\n"), ("=\n", "\n")]
    {
        assert!(AddCheckpoint::parse(good.replacen(from, to, 1).as_bytes()).is_err(), "{from:?} → {to:?}");
    }
    let line = format!("{}\n", yiwang_proto::merkle::hash_to_base64(&[1; 32]));
    let lines = |count| format!("old 1\n{}\nx\n", line.repeat(count));
    assert!(AddCheckpoint::parse(lines(63).as_bytes()).is_ok());
    assert!(AddCheckpoint::parse(lines(64).as_bytes()).is_err());
    assert!(AddCheckpoint::parse(b"old 1\n\n").is_err());
    assert!(AddCheckpoint::parse(&vec![b'x'; 1 << 20]).is_err());
}

#[test]
fn answers_are_lines_of_known_keys() {
    let ten = head(10);
    let body = format!("{}\n{}\n", witness(1).cosign(&ten.text(), 5), witness(77).cosign(&ten.text(), 5));
    let lines = parse_lines(body.as_bytes(), 4).unwrap();
    let note = add_lines(signed(&ten).as_bytes(), &lines).unwrap();
    let note = yiwang_proto::note::SignedNote::parse(note.as_bytes()).unwrap();
    assert_eq!(policy().good_lines(&note).len(), 1, "the stranger's is dropped");
    let wrong = witness(1).cosign(&head(11).text(), 5);
    let bad = add_lines(signed(&ten).as_bytes(), &[wrong]).unwrap();
    assert!(policy().good_lines(&yiwang_proto::note::SignedNote::parse(bad.as_bytes()).unwrap()).is_empty());
    assert!(parse_lines(b"", 4).is_none() && parse_lines(b"x\n", 4).is_none());
    assert!(parse_lines(body.as_bytes(), 1).is_none(), "more lines than wanted");
}

#[test]
fn evidence_of_a_fork_proves_itself() {
    let kept = signed(&head(10));
    let two =
        ForkEvidence::new("two heads", 0, kept.as_bytes(), signed(&other_head(10)).as_bytes(), b"", &[]);
    assert!(two.proves_fork(signer().verifier(), ORIGIN));
    let json = serde_json::to_string(&two).unwrap();
    assert_eq!(serde_json::from_str::<ForkEvidence>(&json).unwrap(), two);
    let same = ForkEvidence::new("", 0, kept.as_bytes(), kept.as_bytes(), b"", &[]);
    assert!(!same.proves_fork(signer().verifier(), ORIGIN));
    let stranger = SignerKey::from_seed(ORIGIN, &[8; 32]).unwrap();
    let forged = other_head(10).sign(&stranger).unwrap();
    let forged = ForkEvidence::new("", 0, kept.as_bytes(), forged.as_bytes(), b"", &[]);
    assert!(!forged.proves_fork(signer().verifier(), ORIGIN));
}

proptest! {
    #[test]
    fn hostile_policies_and_calls_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), cut in 0..400_usize) {
        let _ = WitnessPolicy::parse(&bytes);
        let _ = AddCheckpoint::parse(&bytes);
        let text = policy_text();
        let mut bent = text.as_bytes().to_vec();
        bent.truncate(cut);
        bent.extend_from_slice(&bytes);
        let _ = WitnessPolicy::parse(&bent);
    }

    /// Whatever is asked in whatever order, a witness never cosigns two heads of one size with two roots.
    #[test]
    fn t09_a_witness_cosigns_one_history(calls in proptest::collection::vec((0..12_u64, 0..12_u64, any::<bool>()), 1..40)) {
        let mut kept: Option<Recorded> = None;
        let mut signed_roots = std::collections::BTreeMap::new();
        for (old, size, forked) in calls {
            let honest = head(size);
            let target = if forked && size > 0 { other_head(size) } else { honest.clone() };
            let proof = call(old, old.min(size), &honest).proof;
            let call = AddCheckpoint { old_size: old, proof, checkpoint: signed(&target) };
            if let Judged::Cosign(record) = judge(&call, kept.as_ref()) {
                let head = &record.checkpoint;
                prop_assert!(kept.as_ref().is_none_or(|kept| head.size >= kept.checkpoint.size));
                let root = *signed_roots.entry(head.size).or_insert(head.root);
                prop_assert_eq!(root, head.root);
                kept = Some(record);
            }
        }
    }
}
