//! `fmt`: the one form of a mapping or configuration file. Only blanks change: every comment stays where it is,
//! and what the file says stays the same, which is compared before it is written.

use super::replace::replace;
use super::{CONFIG, ENVIRONMENT, FAILED, OK, Output};
use crate::sources::read_mapping;
use clap::Args;
use serde::Serialize;
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};
use toml_parser::Source;
use toml_parser::lexer::TokenKind;

/// Arguments of `fmt`.
#[derive(Debug, Args)]
pub struct Fmt {
    /// Mapping files, or an adapter.toml
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Change nothing; exit with 1 if a file is in another form
    #[arg(long)]
    pub check: bool,
    /// How the result is written
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Output,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Same,
    Formed,
    OtherForm,
    Failed,
}

/// What became of one file.
#[derive(Serialize)]
struct File {
    file: String,
    state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip)]
    exit: u8,
}

pub(super) fn fmt(arguments: &Fmt, out: &mut (dyn Write + Send)) -> std::io::Result<u8> {
    let mut files = Vec::new();
    for path in &arguments.files {
        let file = one(path, arguments.check);
        if let (Output::Text, Some(message)) = (arguments.output, &file.message) {
            let code = file.code.map(|code| format!("{code} ")).unwrap_or_default();
            writeln!(out, "{code}{message}")?;
        }
        files.push(file);
    }
    let exit = files.iter().map(|file| file.exit).max().unwrap_or(OK);
    if arguments.output == Output::Json {
        writeln!(out, "{}", json!({ "ok": exit == OK, "exit": exit, "files": files }))?;
    }
    Ok(exit)
}

fn one(path: &Path, only_check: bool) -> File {
    let shown = path.display();
    let formed = read_mapping(path).map_err(|error| error.to_string()).and_then(|text| {
        let formed = form(&text).map_err(|why| format!("`{shown}`: {why}"))?;
        Ok((text, formed))
    });
    let (state, code, message, exit) = match formed {
        Err(why) => (State::Failed, Some("A-FMT-001"), Some(why), CONFIG),
        Ok((text, formed)) if text == formed => (State::Same, None, None, OK),
        Ok(_) if only_check => {
            (State::OtherForm, None, Some(format!("`{shown}` is in another form")), FAILED)
        }
        Ok((_, formed)) => match replace(path, &formed) {
            Ok(()) => {
                let said = format!("`{shown}` is in its form now; its digest is another");
                (State::Formed, None, Some(said), OK)
            }
            Err(error) => {
                (State::Failed, Some("A-FMT-002"), Some(format!("`{shown}`: {error}")), ENVIRONMENT)
            }
        },
    };
    File { file: shown.to_string(), state, code, message, exit }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Blank,
    Comment,
    Header,
    Other,
}

/// The text in its form.
fn form(text: &str) -> Result<String, String> {
    let said = |text: &str| text.parse::<toml::Table>();
    let before = said(text).map_err(|error| format!("not TOML: {}", error.message()))?;
    let formed = joined(lines(text));
    // Never the user's fault, and never the user's loss.
    match said(&formed) {
        Ok(after) if after == before => Ok(formed),
        _ => {
            Err("its form would say something else; this is a fault of the program, please report it"
                .to_owned())
        }
    }
}

/// Writes tokens with the blanks that belong between them.
#[derive(Default)]
struct Writer {
    lines: Vec<(Kind, String)>,
    line: String,
    kind: Option<Kind>,
    last: Option<TokenKind>,
    depth: usize,
    blank: bool,
}

impl Writer {
    fn end(&mut self) {
        let kind = self.kind.take().unwrap_or(Kind::Blank);
        self.lines.push((kind, std::mem::take(&mut self.line).trim_end().to_owned()));
        self.last = None;
        self.blank = false;
    }

    fn gap(&self, kind: TokenKind) -> bool {
        match (self.last, kind) {
            (None, _) => false,
            (_, TokenKind::Comma | TokenKind::Dot | TokenKind::RightSquareBracket) => false,
            (Some(TokenKind::LeftSquareBracket | TokenKind::Dot), _) => false,
            (Some(TokenKind::LeftCurlyBracket), TokenKind::RightCurlyBracket) => false,
            (_, TokenKind::Equals | TokenKind::Comment | TokenKind::RightCurlyBracket) => true,
            (Some(TokenKind::Equals | TokenKind::Comma | TokenKind::LeftCurlyBracket), _) => true,
            // A day and a time are one value with a blank in it.
            _ => self.blank,
        }
    }

    fn token(&mut self, kind: TokenKind, raw: &str) {
        let closes = matches!(kind, TokenKind::RightCurlyBracket | TokenKind::RightSquareBracket);
        self.depth -= usize::from(closes).min(self.depth);
        if self.kind.is_none() {
            self.line.push_str(&"  ".repeat(self.depth));
            self.kind = Some(match kind {
                TokenKind::Comment => Kind::Comment,
                TokenKind::LeftSquareBracket if self.depth == 0 => Kind::Header,
                _ => Kind::Other,
            });
        } else if self.gap(kind) {
            self.line.push(' ');
        }
        self.line.push_str(if kind == TokenKind::Comment { raw.trim_end() } else { raw });
        self.depth += usize::from(matches!(kind, TokenKind::LeftCurlyBracket | TokenKind::LeftSquareBracket));
        self.last = Some(kind);
        self.blank = false;
    }
}

fn lines(text: &str) -> Vec<(Kind, String)> {
    let source = Source::new(text);
    let mut writer = Writer::default();
    for token in source.lex() {
        let raw = text.get(token.span().start()..token.span().end()).unwrap_or_default();
        match token.kind() {
            TokenKind::Whitespace => writer.blank = true,
            TokenKind::Newline => writer.end(),
            TokenKind::Eof => {}
            kind => writer.token(kind, raw),
        }
    }
    if writer.kind.is_some() {
        writer.end();
    }
    writer.lines
}

/// One blank line before a table with the comments above it, no two anywhere, none at the ends.
fn joined(lines: Vec<(Kind, String)>) -> String {
    let mut out: Vec<(Kind, String)> = Vec::new();
    for (kind, line) in lines {
        if kind == Kind::Blank && out.last().is_none_or(|(last, _)| *last == Kind::Blank) {
            continue;
        }
        if kind == Kind::Header {
            let above = out.iter().rev().take_while(|(kind, _)| *kind == Kind::Comment).count();
            let at = out.len().saturating_sub(above);
            if at > 0 && out.get(at - 1).is_some_and(|(kind, _)| *kind != Kind::Blank) {
                out.insert(at, (Kind::Blank, String::new()));
            }
        }
        out.push((kind, line));
    }
    while out.last().is_some_and(|(kind, _)| *kind == Kind::Blank) {
        out.pop();
    }
    out.into_iter().map(|(_, line)| line + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::form;

    #[test]
    fn blanks_are_put_right_and_nothing_else() {
        let wild = "# first\r\nformat='adapter/1'   # why\n\n\n\n[ source . sqlite ]\n  path={env=\"A\"}\nzone   =  1979-05-27 07:32:00\n\
                    list=[ 1 ,2,\n# inside\n   3,]\n# of the next\n[[operation]]\nparams . id={ type = \"string\",}\n\
                    sql = \"\"\"\n  select 1   \n\n\n  from t\"\"\"\nfloat=1.5\nempty={}\n\n\n";
        let formed = "# first\nformat = 'adapter/1' # why\n\n[source.sqlite]\npath = { env = \"A\" }\nzone = 1979-05-27 07:32:00\n\
                      list = [1, 2,\n  # inside\n  3,]\n\n# of the next\n[[operation]]\nparams.id = { type = \"string\", }\n\
                      sql = \"\"\"\n  select 1   \n\n\n  from t\"\"\"\nfloat = 1.5\nempty = {}\n";
        assert_eq!(form(wild).unwrap(), formed);
        assert_eq!(form(formed).unwrap(), formed);
        assert!(form("a = ").is_err());
        assert_eq!(form("").unwrap(), "");
    }
}
