//! Record types that members add. The harness signs what the fuzzer makes up, as one of them would.

use super::key;
use bytes::Bytes;
use std::sync::OnceLock;
use yiwang_policies::record_type::RECORD_TYPE_MAX;
use yiwang_policies::{Catalogue, RecordTypeText, RecordTypeVersion};
use yiwang_proto::document::SignedDocument;
use yiwang_proto::envelope::payload_type;

fn builtin() -> &'static Catalogue {
    static BUILTIN: OnceLock<Catalogue> = OnceLock::new();
    BUILTIN.get_or_init(|| match Catalogue::builtin() {
        Ok(catalogue) => catalogue,
        Err(error) => unreachable!("the program's own catalogue: {error}"),
    })
}

/// A draft, the same bytes as a payload that the harness signs, and as an envelope of strangers.
pub fn record_type(data: &[u8]) {
    if let Ok(text) = RecordTypeText::parse(data) {
        let _ = text.faults(builtin());
        let again = RecordTypeText::parse(&text.to_json());
        assert_eq!(again.as_ref(), Ok(&text), "a text is the same after it was written and read");
        assert!(text.changes(&text).is_empty(), "nothing is new against itself");
    }
    let document = SignedDocument::sign(payload_type::RECORD_TYPE, data, &[&key()]);
    let (read, opened) = (RecordTypeVersion::read(&document), RecordTypeVersion::open(&document));
    assert_eq!(opened, RecordTypeVersion::open(&document));
    if let Ok(version) = opened {
        assert_eq!(read.as_ref(), Ok(&version));
        let [provider] = version.text.providers.as_slice() else { unreachable!("one key signed") };
        assert!(provider.root == key().public() && version.is_provided_by(&provider.member));
        assert_eq!((&version.def.name, &version.def.fields), (&version.text.record, &version.text.fields));
        follows(&version);
    }
    if let Ok(signed) = SignedDocument::parse(Bytes::copy_from_slice(data), RECORD_TYPE_MAX)
        && RecordTypeVersion::open(&signed).is_ok()
    {
        assert_eq!(signed.payload_type(), payload_type::RECORD_TYPE);
    }
}

/// The same text as the next version follows; whatever is taken back breaks.
fn follows(version: &RecordTypeVersion) {
    let mut next = version.text.clone();
    next.version = next.version.saturating_add(1);
    next.previous = Some(yiwang_proto::hex(&version.digest));
    let breaks = |text: &RecordTypeText| !text.breaks(version, |_| false).is_empty();
    assert!(!breaks(&next), "{:?}", next.breaks(version, |_| false));
    assert!(breaks(&version.text), "no version follows itself");
    for name in version.text.fields.keys() {
        let mut without = next.clone();
        without.fields.remove(name);
        assert!(breaks(&without), "a field is gone");
        let mut lower = next.clone();
        if let Some(field) = lower.fields.get_mut(name).filter(|field| field.class > 0) {
            field.class -= 1;
            assert!(breaks(&lower), "a class is lower");
        }
        let mut fewer = next.clone();
        if let Some(field) = fewer.fields.get_mut(name)
            && let Some(code) = field.codes.pop()
            && !field.codes.contains(&code)
        {
            assert!(breaks(&fewer), "a code is gone");
        }
    }
    next.providers.clear();
    assert!(breaks(&next), "nobody signs");
}
