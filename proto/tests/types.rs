//! T13: a signature of one kind of statement or document is none of any other kind.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use bytes::Bytes;
use yiwang_proto::answer::Answer;
use yiwang_proto::batch::sign_many;
use yiwang_proto::case::CaseStatement;
use yiwang_proto::contract::Contract;
use yiwang_proto::delegation::{Delegation, Role};
use yiwang_proto::document::SignedDocument;
use yiwang_proto::envelope::SignedStatement;
use yiwang_proto::ids::{AppId, MemberId};
use yiwang_proto::keys::SecretKey;
use yiwang_proto::member::MemberCard;
use yiwang_proto::request::Request;
use yiwang_proto::revocation::Revocation;
use yiwang_proto::standing::Standing;
use yiwang_proto::ticket::Ticket;

/// Every payload type of the source, so that a new one is among them.
fn kinds() -> Vec<&'static str> {
    let source = include_str!("../src/envelope.rs");
    let module = source.split("pub mod payload_type {").nth(1).unwrap().split("\n}").next().unwrap();
    let kinds: Vec<&str> = module.split('"').skip(1).step_by(2).collect();
    assert!(kinds.len() >= 9, "{kinds:?}");
    assert!(kinds.iter().all(|kind| kind.starts_with("application/vnd.yiwang.")), "{kinds:?}");
    kinds
}

fn is_in_batch(kind: &str) -> bool {
    kind.contains("-in-batch.")
}

/// The kind of which this is a form.
fn single(kind: &str) -> &'static str {
    kinds().into_iter().find(|one| *one == kind.replace("-in-batch.", ".")).unwrap()
}

/// A statement as its kind is signed.
fn signed(kind: &'static str, key: &SecretKey) -> SignedStatement {
    let payload = || b"{}".to_vec();
    match is_in_batch(kind) {
        true => sign_many(single(kind), vec![payload(), payload()], key).swap_remove(0),
        false => SignedStatement::sign(kind, payload(), key),
    }
}

#[test]
fn t13_no_signature_of_one_kind_is_one_of_another() {
    let key = SecretKey::from_seed(&[1; 32]);
    let kinds = kinds();
    let mut pairs = 0;
    for signed_as in &kinds {
        let statement = signed(signed_as, &key);
        let document = SignedDocument::sign(signed_as, b"{}", &[&key]);
        for offered_as in &kinds {
            let same = signed_as == offered_as;
            let is_of = statement.verify(offered_as, &key.public()).is_ok();
            assert_eq!(is_of, *offered_as == single(signed_as), "{signed_as} {offered_as}");
            assert_eq!(document.verify(offered_as, &key.public()).is_ok(), same, "{signed_as} {offered_as}");
            // The envelope's own word is not what is believed: the type is in the signed bytes.
            let mut envelope = statement.envelope().clone();
            envelope.payload_type = (*offered_as).to_owned();
            let bytes = prost::Message::encode_to_vec(&envelope);
            let relabelled = SignedStatement::parse(Bytes::from(bytes));
            assert!(relabelled.is_ok() || is_in_batch(signed_as) || is_in_batch(offered_as));
            let passes = |kind| relabelled.as_ref().is_ok_and(|one| one.verify(kind, &key.public()).is_ok());
            assert_eq!(passes(single(offered_as)), same, "{signed_as} {offered_as}");
            let text = String::from_utf8(document.bytes().to_vec()).unwrap();
            let text = text.replace(*signed_as, offered_as);
            let relabelled = SignedDocument::parse(Bytes::from(text), 8192).unwrap();
            assert_eq!(relabelled.verify(offered_as, &key.public()).is_ok(), same);
            pairs += usize::from(!same);
        }
    }
    assert_eq!(pairs, kinds.len() * (kinds.len() - 1));
}

/// Payloads that would be well-formed under another reader are refused for their kind before they are read.
#[test]
fn t13_every_reader_takes_its_own_kind_alone() {
    let key = SecretKey::from_seed(&[1; 32]);
    let public = key.public();
    let (member, name) = (MemberId::parse("police").unwrap(), AppId::parse("main").unwrap());
    let delegated = Delegation::sign(&key, &member, Role::Standing, &name, public, 1, 0, 86_400_000);
    let standing_key = Delegation::open(&delegated).unwrap();
    for kind in kinds() {
        let own = |name: &str| single(kind).contains(&format!(".yiwang.{name}.v1+"));
        let statement = SignedStatement::sign(kind, Vec::new(), &key);
        let refused_for_kind = |error: String| error.contains("payload type is not");
        let readers: [(&str, Result<(), String>); 3] = [
            ("request", Request::open(&statement, &public).map(drop).map_err(|e| e.to_string())),
            ("answer", Answer::open(&statement, &public).map(drop).map_err(|e| e.to_string())),
            ("standing", Standing::open(&statement, &standing_key).map(drop).map_err(|e| e.to_string())),
        ];
        for (name, result) in readers {
            assert_eq!(refused_for_kind(result.unwrap_err()), !own(name), "{kind} as {name}");
        }
        assert!(CaseStatement::open(&statement, &public).is_err());
        let document = SignedDocument::sign(kind, b"{}", &[&key]);
        assert!(Delegation::open(&document).is_err());
        assert!(Contract::open(&document).is_err());
        assert!(MemberCard::open(&document).is_err());
        assert!(Revocation::open(&document).is_err());
        let ticket = Ticket::read(&document).unwrap_err().to_string();
        assert_eq!(refused_for_kind(ticket), !own("ticket"), "{kind} as ticket");
    }
}
