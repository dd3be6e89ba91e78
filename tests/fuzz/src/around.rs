//! What stands around statements: witnesses and their policy, the journal of folded denials, chunks of links, tokens.

use super::{ORIGIN, ledger};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use yiwang_client::token::{EnrolToken, PREFIX};
use yiwang_proto::assemble::{Assembling, Chunk, Step, Whole};
use yiwang_proto::entry::Kind;
use yiwang_proto::folded::{Denied, Record, Said, key_of, minute_of};
use yiwang_proto::limits::{BODY_MAX, CHUNK_MAX};
use yiwang_proto::merkle::leaf_hash;
use yiwang_proto::note::SignedNote;
use yiwang_proto::witness::{AddCheckpoint, Judged, Recorded, WitnessPolicy, add_lines, parse_lines};

/// A checkpoint of the seeds' ledger, signed.
const CHECKPOINT: &[u8] = include_bytes!("../seeds/note/checkpoint");

pub fn policy(data: &[u8]) {
    let parsed = WitnessPolicy::parse(data);
    // Comments and blank lines say nothing.
    let mut commented = b"# a comment\n\n".to_vec();
    commented.extend_from_slice(data);
    commented.extend_from_slice(b" \t\n#\n");
    let again = WitnessPolicy::parse(&commented);
    match parsed {
        Ok(policy) => {
            assert!(policy.fewest() <= policy.witnesses().len(), "nobody could meet it");
            assert_eq!(again.as_ref(), Ok(&policy));
            let Some(log) = policy.logs().first() else { return };
            assert!(policy.allows_log(log));
            let opened = policy.open(CHECKPOINT, ledger(), ORIGIN);
            // Of the witnesses none has signed; the log is one of the policy or it is not.
            let met = opened.is_ok();
            assert!(!met || (policy.fewest() == 0 && policy.allows_log(ledger())));
            if let Ok(note) = SignedNote::parse(CHECKPOINT) {
                assert!(policy.good_lines(&note).len() <= policy.witnesses().len());
            }
        }
        Err(faults) => {
            assert!(!faults.is_empty(), "a refusal says why");
            for fault in faults {
                assert!(!fault.to_string().is_empty());
            }
        }
    }
}

pub fn witness(data: &[u8]) {
    if let Ok(call) = AddCheckpoint::parse(data) {
        assert_eq!(call.to_string().as_bytes(), data, "a call has one form");
        let first = call.judge(None, ledger(), ORIGIN);
        assert_eq!(first, call.judge(None, ledger(), ORIGIN));
        let Ok(checkpoint) = yiwang_proto::checkpoint::Checkpoint::open(CHECKPOINT, ledger(), ORIGIN) else {
            unreachable!("a fixed checkpoint")
        };
        let note = String::from_utf8_lossy(CHECKPOINT).into_owned();
        let recorded = Recorded { note, checkpoint };
        for (judged, old) in
            [(first, 0), (call.judge(Some(&recorded), ledger(), ORIGIN), recorded.checkpoint.size)]
        {
            match judged {
                Judged::Cosign(next) => {
                    assert!(next.checkpoint.size >= old && call.old_size == old, "a record never shrinks");
                    assert!(SignedNote::parse(next.note.as_bytes()).is_ok());
                }
                Judged::Refused(refused) => assert!([400, 403, 404, 409, 422].contains(&refused.status)),
            }
        }
    }
    if let Some(lines) = parse_lines(data, 8) {
        assert!((1..=8).contains(&lines.len()));
        let printed: String = lines.iter().map(|line| format!("{line}\n")).collect();
        assert_eq!(printed.as_bytes(), data, "a line has one form");
        if let Ok(note) = add_lines(CHECKPOINT, &lines) {
            assert!(SignedNote::parse(note.as_bytes()).is_ok());
        }
    }
}

/// Entries and records, each after its length in two bytes; the first byte says how many are entries.
pub fn folded(data: &[u8]) {
    let record = Bytes::copy_from_slice(data);
    if let Ok(said) = Record::read(&record) {
        said_again(&said);
    }
    let Some((entries, mut rest)) = data.split_first() else { return };
    let mut parts = Vec::new();
    while let Some((length, more)) = rest.split_first_chunk::<2>() {
        let Some((part, more)) = more.split_at_checked(usize::from(u16::from_be_bytes(*length))) else {
            break;
        };
        parts.push(Bytes::copy_from_slice(part));
        rest = more;
    }
    let (entries, records) = parts.split_at(usize::from(*entries).min(parts.len()));
    for said in records.iter().filter_map(|record| Record::read(record).ok()) {
        said_again(&said);
    }
    let found = |records: &[Bytes]| match yiwang_audit::fold_parts(entries, records) {
        Ok(found) => found.iter().map(|finding| format!("{finding:?}")).collect::<Vec<_>>(),
        Err(error) => unreachable!("the rules load: {error}"),
    };
    let all = found(records);
    assert_eq!(all, found(records), "the same verdict twice");
    // Where every statement is counted and nothing is wrong, none can be left out unseen.
    let counted = entries.iter().filter_map(count_of).fold(0, u64::saturating_add);
    if let Some((last, before)) = records.split_last()
        && all.is_empty()
        && is_denial(last)
        && counted == records.iter().filter(|record| is_denial(record)).count() as u64
    {
        assert!(!found(before).is_empty(), "a statement is gone");
    }
}

fn is_denial(record: &Bytes) -> bool {
    matches!(Record::read(record), Ok(Said::Denied(denied)) if denied.open().is_ok())
}

/// How many denials an entry folds.
fn count_of(bytes: &Bytes) -> Option<u64> {
    match yiwang_proto::entry::decode(bytes).ok()?.kind? {
        Kind::Folded(raw) => key_of(&raw).map(|_| raw.count),
        _ => None,
    }
}

fn said_again(said: &Said) {
    assert_eq!(Record::read(&Record::of(said.clone())).as_ref(), Ok(said), "a record survives its bytes");
    let Said::Denied(denied) = said else { return };
    assert_eq!(denied.leaf(), leaf_hash(&denied.entry));
    let (Ok(one), Ok(two)) = (denied.open(), denied.open()) else { return };
    assert_eq!((&one.key, one.minute_ms, one.time_ms), (&two.key, two.minute_ms, two.time_ms));
    assert_eq!(one.minute_ms, minute_of(one.time_ms));
    let with_member = Denied { with_member: true, ..denied.clone() };
    assert!(
        with_member.open().is_ok_and(|with| with.key.app.is_none() && with.key.consumer == one.key.consumer)
    );
}

/// Chunks, each of four bytes that say what it is: its number, whether it is the last and has a statement, its length.
pub fn assemble(data: &[u8]) {
    let mut assembling = Assembling::default();
    let (mut body, mut statement) = (Vec::new(), Bytes::new());
    for (nth, said) in (0_u32..).zip(data.chunks_exact(4)) {
        let [number, flags, high, low] = said else { return };
        // Mostly the next number, so that there is something to break.
        let number = if *number < 250 { nth } else { u32::from(*number) - 250 };
        let length = usize::from(u16::from_be_bytes([*high, *low])) * if flags & 4 == 0 { 1 } else { 8 };
        let chunk = Chunk {
            number,
            last: flags & 1 == 1,
            statement: Bytes::from(vec![b's'; if flags & 2 == 0 { 0 } else { usize::from(*low) * 100 + 1 }]),
            body: Bytes::from(vec![*low; length]),
        };
        let before = assembling.held();
        match assembling.take(chunk.clone()) {
            Step::More { credit } => {
                assert!(!chunk.last && number == nth && (nth == 0) != chunk.statement.is_empty());
                assert_eq!(usize::try_from(credit).ok(), Some(length));
                if nth == 0 {
                    statement = chunk.statement;
                }
                body.extend_from_slice(&chunk.body);
                assert_eq!(assembling.held(), body.len());
                assert!(body.len() <= BODY_MAX && length <= CHUNK_MAX);
                assert_eq!(assembling.statement(), &statement);
            }
            Step::Done(Whole { statement: whole, body: bytes }) => {
                assert!(chunk.last && number == nth);
                body.extend_from_slice(&chunk.body);
                let first = if nth == 0 { &chunk.statement } else { &statement };
                assert_eq!((&whole, bytes.as_ref()), (first, body.as_slice()));
                assert!(bytes.len() <= BODY_MAX && assembling.held() == 0);
                return;
            }
            Step::Broken(_) => {
                assert_eq!(assembling.held(), before, "what is broken is not kept");
                let fits = number == nth
                    && (nth == 0) != chunk.statement.is_empty()
                    && chunk.statement.len() <= yiwang_proto::limits::STATEMENT_MAX
                    && length <= CHUNK_MAX
                    && before + length <= BODY_MAX;
                assert!(!fits, "a chunk that keeps all rules is taken");
                return;
            }
        }
    }
}

/// A token's text, and a token whose content the fuzzer makes up.
pub fn token(data: &[u8]) {
    let made = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(data));
    for text in [String::from_utf8_lossy(data).into_owned(), made] {
        let parsed = EnrolToken::parse(&text);
        let spaced = EnrolToken::parse(&format!(" \t{text}\r\n"));
        match (parsed, spaced) {
            (Ok(one), Ok(two)) => {
                assert_eq!(
                    (one.who.uri(&one.trust_domain), &one.origin),
                    (two.who.uri(&two.trust_domain), &two.origin)
                );
                assert_eq!((one.hub, one.enrol, one.ca), (two.hub, two.enrol, two.ca));
                assert!(!one.origin.is_empty() && !one.trust_domain.is_empty());
            }
            (Err(one), Err(two)) => assert_eq!(one, two),
            (one, two) => unreachable!("{one:?} and with spaces {two:?}"),
        }
    }
}
