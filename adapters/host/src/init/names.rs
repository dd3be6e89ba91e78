//! Which field of the catalogue a column most likely is, by its name or by what somebody wrote about it.

use super::Hint;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use yiwang_policies::{Catalogue, FieldDef, FieldType, RecordDef, SubjectKind};

const FILE: &str = include_str!("names.toml");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    own: Vec<String>,
    as_of: Vec<String>,
    person_id: Vec<String>,
    person_id_ends: Vec<String>,
    person_id_not: Vec<String>,
    record: BTreeMap<String, Vec<String>>,
    field: BTreeMap<String, Vec<String>>,
    word: BTreeMap<String, BTreeMap<String, Vec<String>>>,
}

/// Other names of records and fields, in the form that is compared.
pub(super) struct Names {
    own: BTreeSet<String>,
    as_of: BTreeSet<String>,
    person_id: BTreeSet<String>,
    person_id_ends: Vec<String>,
    person_id_not: Vec<String>,
    records: BTreeMap<String, BTreeSet<String>>,
    fields: BTreeMap<String, BTreeSet<String>>,
    /// Of a field, what a source's code most likely means in the catalogue's words.
    words: BTreeMap<String, BTreeMap<String, String>>,
}

/// How a column was recognised; what comes first is surer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Sure {
    Name,
    OtherName,
    Comment,
    Stem,
}

/// A column that was recognised as a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Match {
    /// Which of the hints.
    pub(super) at: usize,
    /// The field.
    pub(super) field: String,
    /// Whether only a part of its name says so: for somebody to confirm.
    pub(super) guessed: bool,
}

/// A record that columns were recognised for.
pub(super) struct Fit<'c> {
    pub(super) record: &'c RecordDef,
    pub(super) matches: Vec<Match>,
    /// Whether the table is called like the record.
    pub(super) named: bool,
}

impl Fit<'_> {
    /// The table's own name is worth two columns.
    fn score(&self) -> usize {
        self.matches.len() + if self.named { 2 } else { 0 }
    }
}

/// Columns and comments are compared without case, `_`, `-` and blanks.
fn plain(name: &str) -> String {
    name.chars()
        .filter(|c| !matches!(c, '_' | '-' | '.' | '/') && !c.is_whitespace())
        .collect::<String>()
        .to_lowercase()
}

/// A name in small letters with `_` between its words, where it is written so that words show.
fn spaced(name: &str) -> String {
    let (mut out, mut small) = (String::with_capacity(name.len()), false);
    for c in name.trim().chars() {
        if small && c.is_uppercase() {
            out.push('_');
        }
        small = c.is_lowercase() || c.is_ascii_digit();
        if matches!(c, '-' | '.' | '/') || c.is_whitespace() {
            out.push('_');
        } else {
            out.extend(c.to_lowercase());
        }
    }
    out
}

/// What a name says besides what it names: whose it is, and that it is a code, which only a code's field may shed.
const BEFORE: [&str; 2] = ["个人", "本人"];
const AFTER: [&str; 6] = ["dm", "code", "cd", "bm", "代码", "编码"];
/// How what follows a name in a comment begins where it is the norm or the list of its codes.
const NORMS: [&str; 4] = ["gb", "iso", "代码", "编码"];
/// Characters of a comment that are looked at.
const COMMENT_MAX: usize = 200;
/// Letters of a name that are left at the least: one alone is called like anything.
const STEM_MIN: usize = 2;

/// A name without what stands around it; none where nothing does.
fn stem(name: &str, is_code: bool) -> Option<String> {
    let rest = BEFORE.iter().find_map(|word| name.strip_prefix(word)).unwrap_or(name);
    let after = if is_code { &AFTER[..] } else { &[] };
    let rest = after.iter().find_map(|word| rest.strip_suffix(word)).unwrap_or(rest);
    (rest != name && rest.chars().count() >= STEM_MIN).then(|| rest.to_owned())
}

/// What a comment may name the column: its head, and of what has codes the first word of that where their norm or list
/// follows.
fn said(comment: &str, has_codes: bool) -> Vec<String> {
    let comment: String = comment.chars().take(COMMENT_MAX).collect();
    let head = head(&comment);
    let mut names = vec![plain(head)];
    if let Some((word, rest)) = head.split_once(char::is_whitespace).filter(|_| has_codes) {
        let rest = rest.trim_start().to_lowercase();
        let lists = rest.starts_with(|c: char| c.is_ascii_digit());
        if lists || NORMS.iter().any(|norm| rest.starts_with(norm)) {
            names.push(plain(word));
        }
    }
    names
}

fn by_code(words: BTreeMap<String, Vec<String>>) -> BTreeMap<String, String> {
    let pairs =
        words.into_iter().flat_map(|(word, codes)| codes.into_iter().map(move |code| (code, word.clone())));
    pairs.collect()
}

/// The part of a comment that names the column: up to the first mark.
fn head(comment: &str) -> &str {
    comment.split([',', '，', ':', '：', ';', '；', '(', '（', '[', '\n']).next().unwrap_or_default().trim()
}

impl Names {
    /// The names that come with the program.
    pub(super) fn builtin() -> Result<Self, String> {
        let raw: Raw = toml::from_str(FILE).map_err(|error| error.to_string())?;
        let set = |names: Vec<String>| names.iter().map(|name| plain(name)).collect::<BTreeSet<_>>();
        let all = |map: BTreeMap<String, Vec<String>>| map.into_iter().map(|(k, v)| (k, set(v))).collect();
        Ok(Self {
            own: raw.own.into_iter().collect(),
            as_of: set(raw.as_of),
            person_id: set(raw.person_id),
            person_id_ends: raw.person_id_ends,
            person_id_not: raw.person_id_not,
            records: all(raw.record),
            fields: all(raw.field),
            words: raw.word.into_iter().map(|(field, words)| (field, by_code(words))).collect(),
        })
    }

    /// The catalogue's word that a code of a field most likely is; the code itself where nothing is known of it.
    pub(super) fn word<'a>(&'a self, field: &str, code: &'a str) -> &'a str {
        self.words.get(field).and_then(|words| words.get(code)).map_or(code, String::as_str)
    }

    fn sure(&self, record: &str, (field, def): (&str, &FieldDef), hint: &Hint) -> Option<Sure> {
        let others = [field.to_owned(), format!("{record}.{field}")];
        let known =
            |name: &str| others.iter().any(|key| self.fields.get(key).is_some_and(|set| set.contains(name)));
        let names: Vec<String> = hint.names().map(plain).collect();
        if names.iter().any(|name| *name == plain(field)) {
            return Some(Sure::Name);
        }
        if names.iter().any(|name| known(name)) {
            return Some(Sure::OtherName);
        }
        let fits = |name: &String| *name == plain(field) || known(name);
        let has_codes = matches!(def.kind, FieldType::Code | FieldType::Bool);
        let comments = hint.comment.as_deref().map(|text| said(text, has_codes)).unwrap_or_default();
        if comments.iter().any(fits) {
            return Some(Sure::Comment);
        }
        let is_code = def.kind == FieldType::Code;
        let mut stems = names.iter().chain(&comments).filter_map(|name| stem(name, is_code));
        stems.any(|name| fits(&name)).then_some(Sure::Stem)
    }

    /// A column whose name or comment is one of a set's; the first wins.
    fn first(set: &BTreeSet<String>, hints: &[Hint], taken: impl Fn(usize) -> bool) -> Option<usize> {
        let named = |hint: &Hint| hint.names().any(|name| set.contains(&plain(name)));
        // Whose row it is and when it was good are told by the whole head of a comment or not at all.
        let said = |hint: &Hint| hint.comment.as_deref().is_some_and(|text| set.contains(&plain(head(text))));
        let find = |fits: &dyn Fn(&Hint) -> bool| {
            hints.iter().enumerate().find(|(at, hint)| !taken(*at) && fits(hint)).map(|(at, _)| at)
        };
        find(&named).or_else(|| find(&said))
    }

    /// The column that says when a row was last good.
    pub(super) fn as_of(&self, hints: &[Hint], usable: impl Fn(&Hint) -> bool) -> Option<usize> {
        Self::first(&self.as_of, hints, |at| hints.get(at).is_none_or(|hint| !usable(hint)))
    }

    /// The column that holds the number by which a person is found, and whether only the end of its name says so.
    pub(super) fn person_id(&self, hints: &[Hint], usable: impl Fn(&Hint) -> bool) -> Option<(usize, bool)> {
        let taken = |at: usize| hints.get(at).is_none_or(|hint| !usable(hint));
        let whole = Self::first(&self.person_id, hints, taken);
        whole.map(|at| (at, false)).or_else(|| self.ends_as_person_id(hints, taken).map(|at| (at, true)))
    }

    /// The one column whose name or comment ends as such a number's; where there are more, whose row it is cannot be told.
    fn ends_as_person_id(&self, hints: &[Hint], taken: impl Fn(usize) -> bool) -> Option<usize> {
        let ends = |name: &str| {
            let name = spaced(name);
            self.person_id_ends.iter().any(|end| name.ends_with(end.as_str()))
                && !self.person_id_not.iter().any(|other| name.contains(other.as_str()))
        };
        let fits = |hint: &Hint| {
            hint.names().any(ends) || hint.comment.as_deref().is_some_and(|text| ends(head(text)))
        };
        let mut found = hints.iter().enumerate().filter(|(at, hint)| !taken(*at) && fits(hint));
        let (at, _) = found.next()?;
        found.next().is_none().then_some(at)
    }

    /// Columns that were recognised as fields of a record; each column and each field once.
    pub(super) fn fit<'c>(&self, record: &'c RecordDef, table: &str, hints: &[Hint]) -> Fit<'c> {
        let name = record.name.as_str();
        let mut found: Vec<(Sure, usize, &str)> = Vec::new();
        for (at, hint) in hints.iter().enumerate().filter(|(_, hint)| hint.refused().is_none()) {
            for (field, def) in &record.fields {
                if let Some(sure) = self.sure(name, (field.as_str(), def), hint) {
                    found.push((sure, at, field.as_str()));
                }
            }
        }
        found.sort();
        let mut matches: Vec<Match> = Vec::new();
        for (sure, at, field) in found {
            if !matches.iter().any(|known| known.at == at || known.field == field) {
                matches.push(Match { at, field: field.to_owned(), guessed: sure == Sure::Stem });
            }
        }
        matches.sort_by_key(|one| one.at);
        let table = plain(table);
        let named = table == plain(name) || self.records.get(name).is_some_and(|set| set.contains(&table));
        Fit { record, matches, named }
    }

    /// The records that fit, the best first. What fits by one column alone is chance.
    pub(super) fn fits<'c>(&self, catalogue: &'c Catalogue, table: &str, hints: &[Hint]) -> Vec<Fit<'c>> {
        let mut fits: Vec<Fit<'c>> = catalogue
            .records()
            .filter(|record| !self.own.contains(record.name.as_str()))
            .map(|record| self.fit(record, table, hints))
            .filter(|fit| fit.score() >= 2 && !fit.matches.is_empty())
            .collect();
        // Of two that fit as well, the one of which more is there.
        fits.sort_by_key(|fit| (std::cmp::Reverse(fit.score()), fit.record.fields.len()));
        fits
    }
}

/// Whether a record is always about a person, whose identifier the operation must take.
pub(super) fn is_about_person(record: &RecordDef) -> bool {
    record.subject == SubjectKind::Person
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_the_catalogue_has_its_chinese_name_and_no_other_is_named() {
        let raw: Raw = toml::from_str(FILE).unwrap();
        let catalogue = Catalogue::builtin().unwrap();
        let han = |names: &[String]| {
            names.iter().any(|name| name.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c)))
        };
        let mut known = BTreeSet::new();
        for record in catalogue.records() {
            let name = record.name.as_str();
            let own = raw.own.iter().any(|own| own == name);
            assert!(own || raw.record.contains_key(name), "{name}");
            for field in record.fields.keys() {
                let keys = [field.as_str().to_owned(), format!("{name}.{field}")];
                let named = keys.iter().any(|key| raw.field.get(key).is_some_and(|names| han(names)));
                assert!(own || named, "{name}.{field}");
                known.extend(keys);
            }
        }
        assert!(raw.field.keys().all(|field| known.contains(field)));
        for (field, words) in &raw.word {
            let fields = catalogue.records().flat_map(|record| &record.fields);
            let mut of = fields.filter(|(name, _)| name.as_str() == field).peekable();
            assert!(of.peek().is_some(), "{field}");
            assert!(of.all(|(_, def)| words.keys().all(|word| def.codes.contains(word))), "{field}");
        }
        assert!(raw.record.keys().all(|name| catalogue.records().any(|record| record.name.as_str() == name)));
    }

    #[test]
    fn what_stands_around_a_name_is_left_out_and_a_surer_one_wins() {
        assert_eq!(stem("xbdm", true).as_deref(), Some("xb"));
        assert_eq!(stem("个人姓名", false).as_deref(), Some("姓名"));
        for name in ["dm", "xdm", "sfzh", "grid", "个人", ""] {
            assert_eq!(stem(name, true), None, "{name}");
        }
        assert_eq!(stem("dzbm", false), None);
        let column = |from: &str, comment: Option<&str>| Hint {
            from: from.to_owned(),
            path: Vec::new(),
            type_name: "char(1)".to_owned(),
            kind: yiwang_adapter_sql::ColumnKind::Text,
            length: Some(1),
            comment: comment.map(str::to_owned),
            words: Vec::new(),
            sampled: None,
        };
        let (names, catalogue) = (Names::builtin().unwrap(), Catalogue::builtin().unwrap());
        let person = catalogue.records().find(|record| record.name.as_str() == "Person").unwrap();
        for (from, comment, field) in [
            ("xb_dm", None, "sex"),
            ("c7", Some("性别代码 GB/T 2261.1"), "sex"),
            ("c7", Some("性别 1男 2女"), "sex"),
            ("grxm", None, "name"),
            ("GENDER_CODE", None, "sex"),
        ] {
            let fit = names.fit(person, "t", &[column(from, comment)]);
            assert_eq!(
                fit.matches.iter().map(|one| one.field.as_str()).collect::<Vec<_>>(),
                [field],
                "{from}"
            );
        }
        // Of two for one field the one that is called so.
        let fit = names.fit(person, "t", &[column("xb_dm", None), column("xb", None)]);
        assert_eq!(fit.matches, [Match { at: 1, field: "sex".to_owned(), guessed: false }]);
        assert!(names.fit(person, "t", &[column("xb_dm", None)]).matches[0].guessed);
        let others = [
            ("swbs", Some("死亡标识 1死亡 0健在")),
            ("mz_dm", Some("民族代码")),
            // Codes of addresses and projects are neither addresses nor names.
            ("dzbm", None),
            ("xmbm", Some("项目编码")),
            ("c1", Some("Name of the office")),
            ("c2", Some("SSN of the spouse")),
            ("c3", Some("证件号码 监护人")),
            ("c4", Some("证件号码 2 监护人")),
        ];
        let columns: Vec<Hint> = others.iter().map(|(from, comment)| column(from, *comment)).collect();
        let none = names.fit(person, "t", &columns);
        assert_eq!(names.person_id(&columns, |_| true), None);
        assert!(none.matches.is_empty());
    }

    #[test]
    fn a_persons_number_is_known_by_how_a_longer_name_ends() {
        let column = |from: &str, comment: Option<&str>| Hint {
            from: from.to_owned(),
            path: Vec::new(),
            type_name: String::new(),
            kind: yiwang_adapter_sql::ColumnKind::Text,
            length: None,
            comment: comment.map(str::to_owned),
            words: Vec::new(),
            sampled: None,
        };
        let names = Names::builtin().unwrap();
        let told = |columns: &[Hint]| names.person_id(columns, |_| true);
        for from in [
            "办件人身份证号",
            "持证人身份证号码",
            "applicant_id_card",
            "APPLICANT_ID_NO",
            "applicantIdCard",
            "bjrsfzh",
        ] {
            assert_eq!(told(&[column("c", None), column(from, None)]), Some((1, true)), "{from}");
        }
        assert_eq!(told(&[column("c1", Some("申请人证件号码（必填）"))]), Some((0, true)));
        // What is called so as a whole is surer, wherever it stands.
        let both = [column("持证人身份证号", None), column("身份证号", None)];
        assert_eq!(told(&both), Some((1, false)));
        for from in
            ["paid_no", "grid_number", "validno", "是否有身份证", "监护人身份证号", "guardian_id_card"]
        {
            assert_eq!(told(&[column(from, None)]), None, "{from}");
        }
        // Of two that end so, either may be whose row it is.
        assert_eq!(told(&[column("买方身份证号", None), column("卖方身份证号", None)]), None);
    }

    #[test]
    fn the_lint_refuses_none_of_the_names() {
        let raw: Raw = toml::from_str(FILE).unwrap();
        let own = [&raw.as_of, &raw.person_id, &raw.person_id_ends];
        let lists = raw.field.values().chain(raw.record.values()).chain(own);
        for name in lists.flatten() {
            assert_eq!(yiwang_policies::lint_name(name), None, "{name}");
        }
    }
}
