use super::*;
use std::path::Path;
use yiwang_adapter_sdk::mapping::{Mapping, SourceDef};
use yiwang_adapter_sdk::value::Cell;

fn def(encoding: &str) -> CsvDef {
    let text = format!(
        r#"format = "adapter/1"
mapping = "a.b"
record = "Incident"
owner = "police"
[source.csv]
folder = "."
files = "*.csv"
encoding = "{encoding}"
time_zone = "Asia/Shanghai"
key = "NO"
[source.csv.columns]
NO = "string"
AT = "timestamp"
N = "integer"
TEXT = "string"
[[operation]]
name = "incident.by_no"
kind = "lookup"
params.no = {{ type = "string", pattern = ".*" }}
where = {{ NO = ":no" }}
limit = 1
timeout = "1s"
[operation.fields]
incident_id = {{ from = "NO", type = "string" }}
"#
    );
    match Mapping::parse(&text, Path::new("m.toml")).unwrap().source() {
        SourceDef::Csv(def) => def.clone(),
        _ => panic!("a csv mapping"),
    }
}

fn texts(parsed: &Parsed) -> Vec<String> {
    // Columns are in the order of their names: AT, N, NO, TEXT.
    (0..parsed.rows.len())
        .map(|row| match parsed.rows.cell(row, 3) {
            Cell::Text(text) => text.to_owned(),
            other => format!("{other:?}"),
        })
        .collect()
}

fn refused(parsed: &Parsed) -> Vec<(u64, &str)> {
    parsed.quarantined.iter().map(|row| (row.line, row.reason.as_str())).collect()
}

fn gbk(text: &str) -> Vec<u8> {
    encoding_rs::GB18030.encode(text).0.into_owned()
}

const MARK: &[u8] = &[0xef, 0xbb, 0xbf];
const GOOD: &str = "NO,AT,N,TEXT\nC1,2026-11-03 22:14:21,5,松风路42号\n";

#[test]
fn encodings_and_marks() {
    let marked = |bytes: &[u8]| [MARK, bytes].concat();
    for (encoding, content) in [
        ("utf-8", GOOD.as_bytes().to_vec()),
        ("utf-8", marked(GOOD.as_bytes())),
        ("gbk", gbk(GOOD)),
        // The new program writes UTF-8 with a mark into the folder of the old one.
        ("gbk", marked(GOOD.as_bytes())),
        // And some put the mark of UTF-8 before GBK.
        ("gbk", marked(&gbk(GOOD))),
    ] {
        let parsed = parse("a.csv", &content, &def(encoding), &OfFile::default()).unwrap();
        assert_eq!(texts(&parsed), ["松风路42号"], "{encoding}");
        assert_eq!(parsed.quarantined_count, 0);
        assert_eq!(parsed.rows.cell(0, 1), Cell::Integer(5));
        let at: jiff::Timestamp = "2026-11-03T22:14:21+08:00".parse().unwrap();
        assert_eq!(parsed.rows.cell(0, 0), Cell::Instant(at));
    }
    let wide: Vec<u8> =
        [0xff, 0xfe].into_iter().chain(GOOD.encode_utf16().flat_map(u16::to_le_bytes)).collect();
    let error = parse("a.csv", &wide, &def("utf-8"), &OfFile::default()).unwrap_err();
    assert!(error.to_string().contains("is in UTF-16"), "{error}");
}

#[test]
fn utf_8_is_not_read_as_gbk_and_gbk_that_reads_as_utf_8_is_gbk() {
    let read = |content: &[u8]| parse("a.csv", content, &def("gbk"), &OfFile::default());
    // The header and the first rows alone would pass.
    let long = format!("NO,AT,N,TEXT\n{}C2,,,云\n", "C1,,,x\n".repeat(10_000));
    for content in [GOOD, long.as_str()] {
        let error = read(content.as_bytes()).unwrap_err().to_string();
        assert!(
            error.contains("is in UTF-8 without a byte order mark, and its mapping says `gbk`"),
            "{error}"
        );
    }
    let (road, ascii) = (gbk("NO,AT,N,TEXT\nC1,,,42路\n"), b"NO,AT,N,TEXT\nC1,,,x\n");
    assert!(std::str::from_utf8(&road).is_ok());
    assert_eq!(texts(&read(&road).unwrap()), ["42路"]);
    assert_eq!(texts(&read(ascii).unwrap()), ["x"]);
}

#[test]
fn the_key_of_a_row_that_is_held_back_is_known_where_it_can_be_read() {
    let rows = "C1,,,one\nC2,,x,bad\nC3,,,\"open\nC4,few\n\"C5,,,x\n,,,no key\nC6,,,six\nC7,tomorrow,,bad\n";
    let text = format!("NO,AT,N,TEXT\n{rows}");
    let parsed = parse("a.csv", text.as_bytes(), &def("utf-8"), &OfFile::default()).unwrap();
    assert_eq!((texts(&parsed), parsed.quarantined_count), (vec!["one".to_owned(), "six".to_owned()], 6));
    let key = |no: &str| {
        let mut key = Vec::new();
        write(&mut key, Cell::Text(no), Compared::Whole, &def("utf-8"));
        key
    };
    assert_eq!(parsed.held_keys, [(1, key("C2")), (1, key("C3")), (1, key("C4")), (2, key("C7"))]);
}

/// Characters of GB 18030 whose later bytes look like ASCII, rare ones and four-byte ones among them.
#[test]
fn rare_characters_of_gb_18030_survive() {
    for text in ["䶮𠮷㐀", "誠|誠", "乗\\乗", "〇﨑", "镕喆堃"] {
        let content = gbk(&format!("NO,AT,N,TEXT\nC1,,,{text}\n"));
        let parsed = parse("a.csv", &content, &def("gbk"), &OfFile::default()).unwrap();
        assert_eq!(texts(&parsed), [text]);
    }
}

#[test]
fn one_broken_cell_costs_one_row() {
    let mut content = gbk("NO,AT,N,TEXT\nC1,,,一\nC2,,,");
    content.extend_from_slice(&[0x81, 0x20]);
    content.extend_from_slice(&gbk("\nC3,,,三\n"));
    let parsed = parse("a.csv", &content, &def("gbk"), &OfFile::default()).unwrap();
    assert_eq!(texts(&parsed), ["一", "三"]);
    assert_eq!(refused(&parsed), [(3, "column `TEXT` is not in the file's encoding")]);
}

#[test]
fn lines_are_those_of_an_editor_whatever_ends_them() {
    let rows = "NO,AT,N,TEXT\nC1,,,\"two\nlines, and \"\"quotes\"\"\"\n\nC2,,x,bad\nC3,,7,good\nC4,tomorrow,,bad\n,,,no key\nC5,,,last";
    for text in [rows.to_owned(), rows.replace('\n', "\r\n")] {
        let parsed = parse("a.csv", text.as_bytes(), &def("utf-8"), &OfFile::default()).unwrap();
        assert_eq!(parsed.rows.len(), 3);
        assert!(texts(&parsed)[0].contains("lines, and \"quotes\""));
        assert_eq!(
            refused(&parsed),
            [
                (5, "column `N` is not a whole number"),
                (7, "column `AT` is not a timestamp"),
                (8, "has no key")
            ],
            "{text:?}"
        );
    }
}

#[test]
fn an_open_quote_costs_its_own_line_only() {
    let text = "NO,AT,N,TEXT\nC1,,,one\nC2,,,\"open\nC3,,,three\nC4,,,four\nC5,too,few\nC6,,,six\n";
    let parsed = parse("a.csv", text.as_bytes(), &def("utf-8"), &OfFile::default()).unwrap();
    assert_eq!(texts(&parsed), ["one", "three", "four", "six"]);
    assert_eq!(
        refused(&parsed),
        [(3, "has a quote that does not end"), (6, "has 3 cells, and the header has 4")]
    );
}

#[test]
fn headers_that_drift_are_named_and_data_is_not_shown() {
    let error = |text: &str| {
        parse("a.csv", text.as_bytes(), &def("utf-8"), &OfFile::default()).unwrap_err().to_string()
    };
    assert!(error("NO,AT,N,TEXT,FAITH\n").ends_with("file `a.csv`: column `FAITH` is not in the mapping"));
    assert!(error("NO,AT,N\n").ends_with("column `TEXT` is missing"));
    assert!(error("NO,AT,N,TEXT,NO\n").ends_with("column `NO` is there twice"));
    assert!(error("").ends_with("is empty, without even a header"));
    assert!(error("NO,AT,N,text\n").ends_with("column `text` is not in the mapping"));
    let data = error("C1,980101199001010017,5,secret\nC2,980101199001010017,5,secret\n");
    assert!(data.ends_with("its first line is not the header that the mapping names"), "{data}");
    // Another order of the same columns is the same file.
    let parsed = parse("a.csv", b"TEXT,N,AT,NO\nx,1,,C1\n", &def("utf-8"), &OfFile::default()).unwrap();
    assert_eq!(texts(&parsed), ["x"]);
}

#[test]
fn a_cell_without_end_is_bounded_and_reasons_hold_no_value() {
    let text = format!("NO,AT,N,TEXT\nC1,,,{}\nC2,,secret,x\n", "y".repeat(CELL_MAX + 1));
    let parsed = parse("a.csv", text.as_bytes(), &def("utf-8"), &OfFile::default()).unwrap();
    assert_eq!(parsed.rows.len(), 0);
    assert_eq!(parsed.quarantined_count, 2);
    assert!(parsed.quarantined.iter().all(|row| !row.reason.contains("secret") && row.reason.len() < 100));
}

#[test]
fn a_stray_quote_neither_swallows_the_next_person_nor_is_taken_away() {
    let read = |rows: &str| {
        let text = format!("NO,AT,N,TEXT\n{rows}");
        let parsed = parse("a.csv", text.as_bytes(), &def("utf-8"), &OfFile::default()).unwrap();
        let refused: Vec<(u64, String)> =
            parsed.quarantined.iter().map(|row| (row.line, row.reason.clone())).collect();
        (texts(&parsed), refused)
    };
    let (open, within) = ("has a quote that does not end", "has a quote within a cell");
    let said = |line: u64, reason: &str| (line, reason.to_owned());
    let (none, three) = (Vec::<String>::new(), ["three".to_owned()]);
    for (rows, refused) in [
        // Two of them, one on each of two lines: as many as a whole cell has.
        ("C1,\"\"x,,三号院\nC2,,,\"五号院\nC3,,,three\n", vec![said(2, within), said(3, open)]),
        ("C1,,,\"三号院\nC2,,,\"五号院\nC3,,,three\n", vec![said(2, open), said(3, open)]),
        ("C1,\"乙,,三号院\nC2,\"丙,,五号院\nC3,,,three\n", vec![said(2, open), said(3, open)]),
        ("C1,,,\"老\"王\"超市旁\"\nC3,,,three\n", vec![said(2, within)]),
        ("C1,,,老\"王\"超市旁\nC3,,,three\n", vec![said(2, within)]),
        ("C1,,,\"one\" \nC3,,,three\n", vec![said(2, within)]),
        ("\"C1\",\"\",\"\",\"老王\"\"\n\"C3\",,,three\n", vec![said(2, open)]),
        // Lines of another system, and one that had a cell of several lines.
        ("C1,,,\"two\nlines\"x\nC3,,,three\r", vec![said(2, open), said(3, within)]),
        ("C1,\"乙,,a\rC3,,,three\r", vec![said(2, open)]),
    ] {
        assert_eq!(read(rows), (three.to_vec(), refused), "{rows}");
    }
    // What stands between the two quotes reads as one cell, or as the rows that it is.
    let ambiguous = said(2, "has a quoted cell over lines that could be rows of their own");
    for rows in [
        "C1,,,\"三号院\nC2,,,五号院\"\n",
        "\"C1,,,三号院\r\nC2,,,x\r\nC4\",,,五号院\r\n",
        "C1,,\"1,x\nC2,,2\",y\n",
    ] {
        assert_eq!(read(rows), (none.clone(), vec![ambiguous.clone()]), "{rows}");
        assert_eq!(read(&format!("{rows}C3,,,three\n")), (three.to_vec(), vec![ambiguous.clone()]), "{rows}");
    }
    // And cells that are as they should be.
    let sound = "\"C1\",\"\",\"5\",\"\"\"老\"\"王, \"\"\nC2,,,五号院\"\r\nC3,,,\"a\r\n\r\nb, c\"\n";
    assert_eq!(
        read(sound),
        (vec!["\"老\"王, \"\nC2,,,五号院".to_owned(), "a\r\n\r\nb, c".to_owned()], vec![])
    );
}

#[test]
fn every_line_of_a_long_file_of_stray_quotes_is_told_and_none_is_read_for_ever() {
    // The last of them read in pairs as a cell of two lines each.
    for (stray, in_one) in
        [("C,,,\"x\n", 1), ("C,,,\"\"\"x\n", 1), ("\"\n", 1), ("C,,,\"\",\"\n", 1), ("C,\",,x\n\n", 2)]
    {
        let lines = 200_000;
        let text = format!("NO,AT,N,TEXT\n{}C3,,,three\n", stray.repeat(lines));
        let parsed = parse("a.csv", text.as_bytes(), &def("utf-8"), &OfFile::default()).unwrap();
        let told = parsed.quarantined_count * in_one;
        assert_eq!((parsed.rows.len(), told), (1, lines), "{stray}");
    }
}
