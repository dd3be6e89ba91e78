//! One encoding for one message: what is signed or hashed has no second form that means the same.

use prost::Message;
use std::cell::RefCell;

thread_local! {
    /// For encodings that are compared and dropped. At most as large as the largest of them, an entry.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Whether a message that was decoded from these bytes is encoded as these bytes: no unknown field, none twice, nothing out
/// of order.
pub(crate) fn is_canonical(message: &impl Message, bytes: &[u8]) -> bool {
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.clear();
        message.encode(scratch).is_ok() && scratch.as_slice() == bytes
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb;

    #[test]
    fn one_form_is_canonical_and_each_other_is_not() {
        let message = pb::DocumentEntry { document: vec![1, 2, 3].into() };
        let bytes = message.encode_to_vec();
        assert!(is_canonical(&message, &bytes));
        // An unknown field, a length of two bytes, the field twice, less and more.
        let length = [&bytes[..1], &[bytes[1] | 0x80, 0], &bytes[2..]].concat();
        let others = [[&bytes[..], &[0x50, 1]].concat(), length, [&bytes[..], &bytes].concat()];
        for other in others {
            let decoded = pb::DocumentEntry::decode(other.as_slice()).unwrap();
            assert_eq!(decoded, message, "{other:?}");
            assert!(!is_canonical(&decoded, &other), "{other:?}");
        }
        assert!(
            !is_canonical(&message, &bytes[..4]) && !is_canonical(&message, &[&bytes[..], &[0]].concat())
        );
        // What was there before does not stay.
        assert!(is_canonical(&pb::DocumentEntry::default(), &[]) && !is_canonical(&message, &[]));
    }
}
