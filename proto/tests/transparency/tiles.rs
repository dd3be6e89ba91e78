use proptest::prelude::*;
use yiwang_proto::merkle::tiles_touched;
use yiwang_proto::tile::{
    BundleError, MAX_ENTRY_BYTES, PathError, TileKind, TilePath, decode_bundle, encode_bundle,
};

#[test]
fn published_paths() {
    for (text, kind, index, width) in [
        ("tile/0/000", TileKind::Hashes(0), 0, 256),
        ("tile/0/x001/x234/067", TileKind::Hashes(0), 1_234_067, 256),
        ("tile/63/x001/x234/067.p/8", TileKind::Hashes(63), 1_234_067, 8),
        ("tile/entries/x001/000.p/255", TileKind::Entries, 1000, 255),
        ("tile/entries/999", TileKind::Entries, 999, 256),
        ("tile/1/x018/x446/x744/x073/x709/x551/615", TileKind::Hashes(1), u64::MAX, 256),
    ] {
        let path = TilePath::new(kind, index, width).unwrap();
        assert_eq!(path.to_string(), text);
        assert_eq!(text.parse(), Ok(path));
        assert_eq!((path.kind(), path.index(), path.width()), (kind, index, width));
        assert_eq!(path.is_full(), width == 256);
    }
}

#[test]
fn other_spellings_are_refused() {
    for text in [
        "",
        "tile",
        "tile/",
        "tile/0",
        "tile/0/",
        "/tile/0/000",
        "tile/0/000/",
        "tile/00/000",
        "tile/64/000",
        "tile/300/000",
        "tile/-1/000",
        "tile/data/000",
        "tile/0/0",
        "tile/0/0000",
        "tile/0/x000",
        "tile/0/x000/001",
        "tile/0/001/002",
        "tile/0/x001/x002",
        "tile/0/000.p",
        "tile/0/000.p/",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/1/",
        "tile/0/000.p/1.p/1",
        "tile/0/+01",
        "tile/0/..",
        "tile/0/../../etc",
        "tile/0/x018/x446/x744/x073/x709/x551/616",
        "tile/0/x999/x999/x999/x999/x999/x999/x999/x999/x999/999",
        "tile/0/００1",
        "checkpoint",
    ] {
        assert_eq!(TilePath::parse(text), Err(PathError), "{text}");
    }
    assert_eq!(TilePath::new(TileKind::Hashes(64), 0, 1), Err(PathError));
    assert_eq!(TilePath::new(TileKind::Entries, 0, 0), Err(PathError));
    assert_eq!(TilePath::new(TileKind::Entries, 0, 257), Err(PathError));
}

#[test]
fn bundles_hold_exactly_their_entries() {
    let longest = vec![9; MAX_ENTRY_BYTES];
    let entries: [&[u8]; 3] = [b"one", b"", &longest];
    let bundle = encode_bundle(entries).unwrap();
    assert_eq!(bundle[..5], *b"\x00\x03one");
    assert_eq!(decode_bundle(&bundle, 3).unwrap(), entries);
    assert_eq!(decode_bundle(&bundle, 2), Err(BundleError::Trailing { width: 2 }));
    assert_eq!(decode_bundle(&bundle, 4), Err(BundleError::Truncated { number: 3 }));
    assert_eq!(decode_bundle(&bundle[..bundle.len() - 1], 3), Err(BundleError::Truncated { number: 2 }));
    assert_eq!(decode_bundle(&bundle[..6], 2), Err(BundleError::Truncated { number: 1 }));
    assert_eq!(decode_bundle(&bundle, 257), Err(BundleError::TooManyEntries));
    let too_long = vec![9; MAX_ENTRY_BYTES + 1];
    let error = BundleError::EntryTooLong { number: 1, len: MAX_ENTRY_BYTES + 1 };
    assert_eq!(encode_bundle([b"x".as_slice(), &too_long]), Err(error));
    assert_eq!(encode_bundle(vec![b"x".as_slice(); 257]), Err(BundleError::TooManyEntries));
    assert_eq!(encode_bundle(vec![b"x".as_slice(); 256]).unwrap().len(), 768);
}

#[test]
fn touched_tiles_of_growth() {
    let touched = |old, new| tiles_touched(old, new).collect::<Vec<_>>();
    assert_eq!(touched(0, 0), []);
    assert_eq!(touched(5, 5), []);
    assert_eq!(touched(6, 5), []);
    assert_eq!(touched(0, 1), [(0, 0, 1)]);
    assert_eq!(touched(255, 256), [(0, 0, 256), (1, 0, 1)]);
    assert_eq!(touched(256, 300), [(0, 1, 44)]);
    assert_eq!(touched(250, 600), [(0, 0, 256), (0, 1, 256), (0, 2, 88), (1, 0, 2)]);
    assert_eq!(touched(65_535, 65_536), [(0, 255, 256), (1, 0, 256), (2, 0, 1)]);
    // The range of a hostile size is walked lazily.
    assert_eq!(tiles_touched(0, u64::MAX).next(), Some((0, 0, 256)));
}

proptest! {
    #[test]
    fn paths_round_trip(level in 0_u8..64, entries: bool, index: u64, width in 1_u16..=256) {
        let kind = if entries { TileKind::Entries } else { TileKind::Hashes(level) };
        let path = TilePath::new(kind, index, width).unwrap();
        prop_assert_eq!(TilePath::parse(&path.to_string()), Ok(path));
    }

    #[test]
    fn bundles_round_trip(entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..20)) {
        let slices: Vec<_> = entries.iter().map(Vec::as_slice).collect();
        let bundle = encode_bundle(slices.clone()).unwrap();
        prop_assert_eq!(decode_bundle(&bundle, u16::try_from(slices.len()).unwrap()).unwrap(), slices);
    }
}
