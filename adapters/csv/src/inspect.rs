//! The header of a folder's newest file, for whoever writes a mapping. What stands below it is read to tell
//! the encoding, and given to nobody.

use crate::folder::Folder;
use std::path::Path;
use yiwang_adapter_sdk::mapping::Encoding;
use yiwang_adapter_sdk::source::SourceError;

/// Columns of a header: exports of old systems have some hundred.
const COLUMNS_MAX: usize = 1024;

/// What a file's first line and bytes say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The file that was looked at.
    pub file: String,
    /// Its encoding.
    pub encoding: Encoding,
    /// Its columns, in their order.
    pub columns: Vec<String>,
}

/// Reads the header of the last file that matches, by name with numbers as numbers. Blocks on the disk.
///
/// # Errors
/// A folder that cannot be read, no file that matches, one whose first line cannot be a header.
pub fn inspect(folder: &Path, files: &str) -> Result<Header, SourceError> {
    let opened = Folder::open(folder, files)?;
    let newest = opened.list()?.into_iter().rev().find(|entry| entry.version.is_some());
    let Some(entry) = newest else {
        return Err(SourceError::Unavailable(format!("no file of the folder matches `{files}`")));
    };
    let (data, _) = opened.read(&entry.name)?;
    header(&entry.name, &data)
}

/// Cells of some columns in the first rows of the file whose header was read; empty cells and rows that are cut
/// otherwise than the header are left out. Blocks on the disk.
///
/// # Errors
/// A folder or file that cannot be read, or that is another one now.
pub fn sample(
    folder: &Path,
    header: &Header,
    places: &[usize],
    rows: usize,
) -> Result<Vec<Vec<String>>, SourceError> {
    let (data, _) = Folder::open(folder, &header.file)?.read(&header.file)?;
    let plain = data.strip_prefix(&[0xef, 0xbb, 0xbf]).unwrap_or(&data);
    let text = match header.encoding {
        Encoding::Utf8 => String::from_utf8_lossy(plain),
        Encoding::Gbk => encoding_rs::GB18030.decode_without_bom_handling(plain).0,
    };
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
    let mut record = csv::StringRecord::new();
    let same = reader.read_record(&mut record).unwrap_or(false) && record.iter().eq(&header.columns);
    if !same {
        return Err(SourceError::Drift(format!("file `{}`: its header changed meanwhile", header.file)));
    }
    let mut columns = vec![Vec::new(); places.len()];
    for _ in 0..rows {
        if !reader.read_record(&mut record).unwrap_or(false) {
            break;
        }
        if record.len() != header.columns.len() {
            continue;
        }
        for (column, place) in columns.iter_mut().zip(places) {
            column.extend(record.get(*place).filter(|cell| !cell.is_empty()).map(str::to_owned));
        }
    }
    Ok(columns)
}

fn header(name: &str, data: &[u8]) -> Result<Header, SourceError> {
    let unfit = |what: &str| SourceError::Drift(format!("file `{name}`: {what}"));
    let (plain, marked) = match data.strip_prefix(&[0xef, 0xbb, 0xbf]) {
        Some(plain) => (plain, true),
        None => (data, false),
    };
    let gbk = || encoding_rs::GB18030.decode_without_bom_handling_and_without_replacement(plain);
    let (encoding, text) = match std::str::from_utf8(plain) {
        Ok(text) => (Encoding::Utf8, std::borrow::Cow::Borrowed(text)),
        // Where only some cells are broken the mark still tells.
        Err(_) if marked && gbk().is_none() => (Encoding::Utf8, String::from_utf8_lossy(plain)),
        Err(_) => match gbk() {
            Some(text) => (Encoding::Gbk, text),
            None => return Err(unfit("is neither in UTF-8 nor in GBK; save it as one of them")),
        },
    };
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
    let mut record = csv::StringRecord::new();
    if !reader.read_record(&mut record).unwrap_or(false) {
        return Err(unfit("is empty, without even a header"));
    }
    let columns: Vec<String> = record.iter().map(str::to_owned).collect();
    let sound = |column: &String| {
        let digits = column.chars().filter(char::is_ascii_digit).count();
        // A cell of a row, like a number or a day, must not be shown as a column's name.
        !column.is_empty() && column.len() <= 128 && !column.contains('@') && digits * 2 <= column.len()
    };
    let twice = |column: &&String| columns.iter().filter(|other| other == column).count() > 1;
    if columns.len() > COLUMNS_MAX || !columns.iter().all(sound) || columns.iter().any(|c| twice(&c)) {
        return Err(unfit("its first line is no header: names of columns, each once, without @"));
    }
    Ok(Header { file: name.to_owned(), encoding, columns })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoding_and_columns_are_told_and_a_row_is_no_header() {
        let read = |data: &[u8]| header("a.csv", data).map(|header| (header.encoding, header.columns));
        assert_eq!(
            read("姓名,B\n云甲,1\n".as_bytes()).unwrap(),
            (Encoding::Utf8, vec!["姓名".to_owned(), "B".to_owned()])
        );
        let (gbk, _, _) = encoding_rs::GBK.encode("姓名,B\n云甲,1\n");
        assert_eq!(read(&gbk).unwrap().0, Encoding::Gbk);
        assert_eq!(
            read(b"\xef\xbb\xbfA,B\n1,2\n").unwrap(),
            (Encoding::Utf8, vec!["A".to_owned(), "B".to_owned()])
        );
        for bad in ["", "A,,B\n", "A,A\n", "云甲,980101199001010017,1990-01-01\n", "A@B,C\n"] {
            let error = read(bad.as_bytes()).unwrap_err().to_string();
            assert!(!error.contains("980101") && !error.contains("云甲"), "{error}");
        }
        assert!(read(&[0x41, 0xff, 0xff, 0x0a]).is_err());
    }
}
