//! What can go wrong while a city is built.

use std::path::{Path, PathBuf};

/// Why a city, a bench source or the real data could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum CityError {
    #[error("scale must be greater than 0 and at most 1, not `{0}`")]
    Scale(f64),
    #[error("cannot use `{}`: {source}", .path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("cannot write the database `{}`: {source}", .path.display())]
    Sqlite { path: PathBuf, source: rusqlite::Error },
    #[error("cannot read or write the table `{}`: {source}", .path.display())]
    Csv { path: PathBuf, source: csv::Error },
    #[error("`{}` has no column `{column}`; is it the file that its SOURCE.md describes?", .path.display())]
    Column { path: PathBuf, column: &'static str },
    #[error("`{}` has no emergency medical call with a township; is the file whole?", .path.display())]
    NoCalls { path: PathBuf },
}

impl CityError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_path_buf(), source }
    }

    pub(crate) fn sqlite(path: &Path) -> impl FnOnce(rusqlite::Error) -> Self + '_ {
        move |source| Self::Sqlite { path: path.to_path_buf(), source }
    }

    pub(crate) fn csv(path: &Path) -> impl FnOnce(csv::Error) -> Self + '_ {
        move |source| Self::Csv { path: path.to_path_buf(), source }
    }
}
