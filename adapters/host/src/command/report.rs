//! What `check` found, as sections of lines with a tick, a mark or a cross.

use super::{CONFIG, ENVIRONMENT, FAILED, OK, Output};
use serde::Serialize;
use std::io::Write;
use yiwang_adapter_sdk::check::{Finding, Severity};
use yiwang_adapter_sdk::mapping::MappingFault;
use yiwang_proto::plural::counted;

/// A line.
#[derive(Debug, Serialize)]
pub(super) struct Line {
    severity: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    /// `file:line:column`, where it is about a place.
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<String>,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
    #[serde(skip)]
    rendered: Option<String>,
}

/// Lines about one thing.
#[derive(Debug, Serialize)]
pub(super) struct Section {
    about: String,
    layer: &'static str,
    lines: Vec<Line>,
}

impl Section {
    pub(super) fn new(about: impl Into<String>, layer: &'static str) -> Self {
        Self { about: about.into(), layer, lines: Vec::new() }
    }

    pub(super) fn say(&mut self, severity: Severity, message: impl Into<String>) {
        self.push(Finding::new(severity, "", message));
    }

    pub(super) fn good(&mut self, message: impl Into<String>) {
        self.say(Severity::Note, message);
    }

    pub(super) fn bad(&mut self, message: impl Into<String>) {
        self.say(Severity::Error, message);
    }

    fn push(&mut self, finding: Finding) {
        let code = Some(finding.code).filter(|code| !code.is_empty());
        let severity = word(finding.severity);
        let (message, help) = (finding.message, finding.help);
        self.lines.push(Line { severity, code, place: None, message, help, rendered: None });
    }

    /// A finding without a place.
    pub(super) fn finding(&mut self, finding: Finding) {
        self.push(finding);
    }

    /// A fault with its place, and as a terminal shows it.
    pub(super) fn fault(
        &mut self,
        severity: Severity,
        code: Option<&'static str>,
        fault: &MappingFault,
        rendered: String,
    ) {
        self.lines.push(Line {
            severity: word(severity),
            code,
            place: Some(format!("{}:{}:{}", fault.file.display(), fault.line, fault.column)),
            message: fault.message.clone(),
            help: fault.help.clone(),
            rendered: Some(rendered),
        });
    }

    fn is_bad(&self) -> bool {
        self.lines.iter().any(|line| line.severity == "error")
    }
}

const fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Note => "ok",
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}

/// Layers, and with which code the program ends if one of them is bad.
pub(super) const SHAPE: &str = "shape";
pub(super) const NAMES: &str = "names, codes, tests";
pub(super) const LIVE: &str = "live";

/// All sections.
#[derive(Debug, Default)]
pub(super) struct Report(pub(super) Vec<Section>);

#[derive(Serialize)]
struct Json<'a> {
    ok: bool,
    exit: u8,
    sections: &'a [Section],
}

impl Report {
    /// The exit code: a file that must be mended counts most, then a failed test, then the surroundings.
    pub(super) fn exit(&self) -> u8 {
        let bad = |line: &&Line| line.severity == "error";
        let mut exit = OK;
        for section in &self.0 {
            for line in section.lines.iter().filter(bad) {
                let code = match section.layer {
                    LIVE => ENVIRONMENT,
                    _ if line.code == Some("A-MAP-010") => FAILED,
                    _ => CONFIG,
                };
                exit = match (exit, code) {
                    (CONFIG, _) | (_, CONFIG) => CONFIG,
                    (FAILED, _) | (_, FAILED) => FAILED,
                    (_, code) => code,
                };
            }
        }
        exit
    }

    pub(super) fn write(&self, output: Output, out: &mut (dyn Write + Send)) -> std::io::Result<u8> {
        let exit = self.exit();
        if output == Output::Json {
            let json = Json { ok: exit == OK, exit, sections: &self.0 };
            let text = serde_json::to_string(&json).map_err(std::io::Error::other)?;
            writeln!(out, "{text}")?;
            return Ok(exit);
        }
        let mut about = "";
        for section in &self.0 {
            if section.about != about {
                about = &section.about;
                writeln!(out, "{about}")?;
            }
            let mark = if section.is_bad() { '✗' } else { '✓' };
            writeln!(out, "  {mark} {}", section.layer)?;
            for line in &section.lines {
                write_line(line, out)?;
            }
        }
        let [errors, warnings] = ["error", "warning"].map(|word| counted(self.count(word), word));
        writeln!(out, "{errors}, {warnings}")?;
        Ok(exit)
    }

    fn count(&self, severity: &str) -> usize {
        let lines = self.0.iter().flat_map(|section| &section.lines);
        lines.filter(|line| line.severity == severity).count()
    }
}

fn write_line(line: &Line, out: &mut (dyn Write + Send)) -> std::io::Result<()> {
    let mark = match line.severity {
        "error" => '✗',
        "warning" => '!',
        _ => '✓',
    };
    let code = line.code.map(|code| format!("{code} ")).unwrap_or_default();
    if let Some(rendered) = &line.rendered {
        for (at, text) in rendered.lines().enumerate() {
            let lead = if at == 0 { format!("    {mark} {code}") } else { "      ".to_owned() };
            writeln!(out, "{lead}{text}")?;
        }
        return Ok(());
    }
    writeln!(out, "    {mark} {code}{}", line.message)?;
    match &line.help {
        Some(help) => writeln!(out, "      help: {help}"),
        None => Ok(()),
    }
}
