//! Rows of a page, as a provider's adapter writes them.

use serde::de::IgnoredAny;
use yiwang_client::record::open_rows;
use yiwang_client::rows::check_rows;
use yiwang_proto::answer::{Answer, Verdict};
use yiwang_proto::request::Head;

fn answer(rows: u32) -> Option<Answer> {
    Some(Answer {
        request_id: "0190a5c3-0000-7000-8000-000000000001".parse().ok()?,
        request_digest: [1; 32],
        provider: "police".parse().ok()?,
        adapter: "main".parse().ok()?,
        verdict: Verdict::Answered,
        clause: String::new(),
        fields: vec!["lift".parse().ok()?, "name".parse().ok()?],
        withheld: Vec::new(),
        rows,
        subject_tags: Vec::new(),
        subject_tags_root: None,
        answered_at_ms: 0,
        as_of_ms: 0,
        body_digest: None,
        mapping_digest: [0; 32],
        head: Head::default(),
        delegation_digest: [2; 32],
        truncated: false,
        sealed_to: None,
    })
}

/// What is read through and let go is what would be kept: nothing else passes.
pub fn page(data: &[u8]) {
    let many = serde_json::from_slice::<Vec<IgnoredAny>>(data).map_or(0, |rows| rows.len());
    let Some(answer) = u32::try_from(many).ok().and_then(answer) else { return };
    let checked = check_rows(data, &answer).is_ok();
    assert_eq!(checked, open_rows(data, &answer).is_ok(), "both ways agree");
}
