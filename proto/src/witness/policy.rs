use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::note::{KeyKind, NoteSignature, SignedNote, Verified, VerifierKey};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Bytes of a policy file: every line at its longest still leaves room for comments.
pub const POLICY_MAX: usize = 256 * 1024;
/// Logs of one policy; the standard asks for at least 32.
pub const LOGS_MAX: usize = 32;
/// Witnesses of one policy; the standard asks for at least 32, and a note holds 64 signatures.
pub const WITNESSES_MAX: usize = 60;
/// Groups of one policy; the standard asks for at least 32.
pub const GROUPS_MAX: usize = 64;

/// One thing that is wrong in a policy file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFault {
    /// Line, from 1; 0 where the file as a whole is at fault.
    pub line: usize,
    /// What is wrong and what to write.
    pub what: String,
}

impl fmt::Display for PolicyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 { f.write_str(&self.what) } else { write!(f, "line {}: {}", self.line, self.what) }
    }
}

/// Names are octet strings: the standard compares them byte by byte, whatever they encode.
type Name = Vec<u8>;

/// The lines of a policy file, split into words; nothing is believed yet.
#[derive(Debug, Clone, Default)]
pub struct RawPolicy {
    lines: Vec<(usize, Vec<Vec<u8>>)>,
}

impl RawPolicy {
    /// Splits the exact bytes of a file into its lines and words. Comments and empty lines are dropped.
    ///
    /// # Errors
    /// [`PolicyFault`] for a file that is too long, does not end its last line, or holds control bytes.
    pub fn read(bytes: &[u8]) -> Result<Self, Vec<PolicyFault>> {
        let fault = |line, what: &str| vec![PolicyFault { line, what: what.to_owned() }];
        if bytes.len() > POLICY_MAX {
            return Err(fault(0, &format!("the file is longer than {POLICY_MAX} bytes")));
        }
        let Some(text) = bytes.strip_suffix(b"\n") else {
            return Err(fault(0, "the last line must end with a line feed"));
        };
        let mut lines = Vec::new();
        for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            if line.iter().any(|byte| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f) {
                return Err(fault(number, "control characters other than tab are not allowed"));
            }
            let words: Vec<Vec<u8>> = line
                .split(|byte| matches!(byte, b' ' | b'\t'))
                .filter(|word| !word.is_empty())
                .map(<[u8]>::to_vec)
                .collect();
            if words.first().is_some_and(|word| word.first() != Some(&b'#')) {
                lines.push((number, words));
            }
        }
        Ok(Self { lines })
    }

    /// Checks every line.
    ///
    /// # Errors
    /// All faults, in the order of the file.
    pub fn check(self) -> Result<WitnessPolicy, Vec<PolicyFault>> {
        let mut checking = Checking::default();
        for (number, words) in &self.lines {
            if let Err(what) = checking.line(words) {
                checking.faults.push(PolicyFault { line: *number, what });
            }
        }
        checking.finish()
    }
}

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    /// The witness of that number.
    Witness(usize),
    /// At least so many of these.
    AtLeast(usize, Vec<Rule>),
}

impl Rule {
    fn holds(&self, cosigned: &BTreeSet<usize>) -> bool {
        match self {
            Self::Witness(number) => cosigned.contains(number),
            Self::AtLeast(least, members) => {
                members.iter().filter(|member| member.holds(cosigned)).count() >= *least
            }
        }
    }

    /// The fewest witnesses that can satisfy it.
    fn fewest(&self) -> usize {
        match self {
            Self::Witness(_) => 1,
            Self::AtLeast(least, members) => {
                let mut needs: Vec<usize> = members.iter().map(Self::fewest).collect();
                needs.sort_unstable();
                needs.iter().take(*least).sum()
            }
        }
    }
}

/// A checked `tlog-policy`: which logs count, which witnesses are known, and the quorum of them that a
/// checkpoint needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WitnessPolicy {
    logs: Vec<VerifierKey>,
    witnesses: Vec<(String, VerifierKey)>,
    // None: no cosignature is needed.
    quorum: Option<Rule>,
}

/// A checkpoint that satisfies a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witnessed {
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// Names of the witnesses whose cosignatures are good, as the policy calls them.
    pub witnesses: Vec<String>,
    /// The latest time that one of them states, seconds since 1970; none without cosignatures.
    pub newest_s: Option<u64>,
}

impl WitnessPolicy {
    /// Reads and checks a policy file.
    ///
    /// # Errors
    /// All faults, in the order of the file.
    pub fn parse(bytes: &[u8]) -> Result<Self, Vec<PolicyFault>> {
        RawPolicy::read(bytes)?.check()
    }

    /// The logs that the policy lists; none where the log is known from elsewhere.
    #[must_use]
    pub fn logs(&self) -> &[VerifierKey] {
        &self.logs
    }

    /// The witnesses with the names that the policy gives them.
    #[must_use]
    pub fn witnesses(&self) -> &[(String, VerifierKey)] {
        &self.witnesses
    }

    /// The fewest cosignatures that can satisfy the quorum.
    #[must_use]
    pub fn fewest(&self) -> usize {
        self.quorum.as_ref().map_or(0, Rule::fewest)
    }

    /// Whether a log's key may sign under this policy: every key if none is listed.
    #[must_use]
    pub fn allows_log(&self, key: &VerifierKey) -> bool {
        self.logs.is_empty() || self.logs.contains(key)
    }

    /// Whether the good lines of a note satisfy the quorum. `own` is the log's key, which never counts as
    /// a witness.
    #[must_use]
    pub fn is_met(&self, verified: &Verified, own: &VerifierKey) -> bool {
        self.quorum.as_ref().is_none_or(|quorum| quorum.holds(&self.cosigned(verified, own)))
    }

    fn cosigned(&self, verified: &Verified, own: &VerifierKey) -> BTreeSet<usize> {
        let counts = |key: &VerifierKey| key.public_key() != own.public_key() && verified.by(key);
        (0..).zip(&self.witnesses).filter(|(_, (_, key))| counts(key)).map(|(number, _)| number).collect()
    }

    /// Opens a signed checkpoint of the log `key` and `origin`, and demands the quorum.
    ///
    /// # Errors
    /// [`CheckpointError`] as [`Checkpoint::open`]; [`CheckpointError::Quorum`] where too few of the right
    /// witnesses have cosigned, [`CheckpointError::OtherOrigin`] where the policy lists other logs.
    pub fn open(&self, bytes: &[u8], key: &VerifierKey, origin: &str) -> Result<Witnessed, CheckpointError> {
        if !self.allows_log(key) {
            let expected = self.logs.iter().map(VerifierKey::name).collect::<Vec<_>>().join("`, `");
            return Err(CheckpointError::OtherOrigin { expected });
        }
        let keys: Vec<VerifierKey> = self.witnesses.iter().map(|(_, key)| key.clone()).collect();
        let (checkpoint, verified) = Checkpoint::open_cosigned(bytes, key, origin, &keys)?;
        let cosigned = self.cosigned(&verified, key);
        if self.quorum.as_ref().is_some_and(|quorum| !quorum.holds(&cosigned)) {
            return Err(CheckpointError::Quorum { found: cosigned.len(), fewest: self.fewest() });
        }
        let mut witnesses = Vec::with_capacity(cosigned.len());
        let mut newest_s = None;
        for (name, key) in cosigned.iter().filter_map(|number| self.witnesses.get(*number)) {
            witnesses.push(name.clone());
            newest_s = newest_s.max(verified.time(key));
        }
        Ok(Witnessed { checkpoint, witnesses, newest_s })
    }

    /// The signature lines of known keys among the lines of a note, each once and verified; for a log that
    /// collects them. Lines of strangers, and bad ones, are dropped.
    #[must_use]
    pub fn good_lines(&self, note: &SignedNote) -> Vec<NoteSignature> {
        let mut good = Vec::new();
        for (_, key) in &self.witnesses {
            let mut lines =
                note.signatures().iter().filter(|line| line.id() == key.id() && line.name() == key.name());
            good.extend(lines.rfind(|line| key.verifies(note.text(), line)).cloned());
        }
        good
    }
}

#[derive(Default)]
struct Checking {
    logs: Vec<VerifierKey>,
    witnesses: Vec<(String, VerifierKey)>,
    groups: usize,
    names: BTreeMap<Name, Rule>,
    members: BTreeSet<Name>,
    quorum: Option<Option<Rule>>,
    faults: Vec<PolicyFault>,
}

fn shown(name: &[u8]) -> String {
    format!("`{}`", String::from_utf8_lossy(name).chars().take(80).collect::<String>())
}

impl Checking {
    fn line(&mut self, words: &[Vec<u8>]) -> Result<(), String> {
        let Some((item, rest)) = words.split_first() else { return Ok(()) };
        match (item.as_slice(), rest) {
            (b"log", [key] | [key, _]) => self.log(key),
            (b"log", _) => Err("write `log <vkey> [<url>]`".to_owned()),
            (b"witness", [name, key] | [name, key, _]) => self.witness(name, key),
            (b"witness", _) => Err("write `witness <name> <vkey> [<url>]`".to_owned()),
            (b"group", [name, least, members @ ..]) if !members.is_empty() => {
                self.group(name, least, members)
            }
            (b"group", _) => Err("write `group <name> all|any|<k> <name>…`".to_owned()),
            (b"quorum", [name]) => self.quorum(name),
            (b"quorum", _) => Err("write `quorum <name>` or `quorum none`".to_owned()),
            (other, _) => {
                Err(format!("{} is no item of a policy: log, witness, group and quorum are", shown(other)))
            }
        }
    }

    fn log(&mut self, vkey: &[u8]) -> Result<(), String> {
        let key = parse_key(vkey, KeyKind::Ed25519, "a log's key is of type 01 (Ed25519)")?;
        if self.logs.iter().any(|known| known.public_key() == key.public_key()) {
            return Err("this log's key is listed already".to_owned());
        }
        if self.logs.len() >= LOGS_MAX {
            return Err(format!("more than {LOGS_MAX} logs"));
        }
        self.logs.push(key);
        Ok(())
    }

    fn witness(&mut self, name: &[u8], vkey: &[u8]) -> Result<(), String> {
        let key = parse_key(vkey, KeyKind::Cosigner, "a witness's key is of type 04 (cosignature/v1)")?;
        if self.witnesses.iter().any(|(_, known)| known.public_key() == key.public_key()) {
            return Err("this witness's key is listed already".to_owned());
        }
        if self.witnesses.len() >= WITNESSES_MAX {
            return Err(format!("more than {WITNESSES_MAX} witnesses"));
        }
        self.define(name, Rule::Witness(self.witnesses.len()))?;
        self.witnesses.push((String::from_utf8_lossy(name).into_owned(), key));
        Ok(())
    }

    fn group(&mut self, name: &[u8], least: &[u8], members: &[Name]) -> Result<(), String> {
        let count = match least {
            b"any" => 1,
            b"all" => members.len(),
            digits => {
                let text = std::str::from_utf8(digits).ok().filter(|text| !text.starts_with(['0', '+']));
                let number = text.and_then(|text| text.parse::<usize>().ok());
                number.filter(|number| (1..=members.len()).contains(number)).ok_or_else(|| {
                    format!("a group needs `any`, `all` or a number from 1 to {}", members.len())
                })?
            }
        };
        if self.groups >= GROUPS_MAX {
            return Err(format!("more than {GROUPS_MAX} groups"));
        }
        let mut rules = Vec::with_capacity(members.len());
        for member in members {
            let Some(rule) = self.names.get(member) else {
                return Err(format!("{} is not defined on a line before", shown(member)));
            };
            if !self.members.insert(member.clone()) {
                return Err(format!("{} is a member of a group already", shown(member)));
            }
            rules.push(rule.clone());
        }
        self.groups += 1;
        self.define(name, Rule::AtLeast(count, rules))
    }

    fn define(&mut self, name: &[u8], rule: Rule) -> Result<(), String> {
        if name == b"none" {
            return Err("`none` is the name of the empty quorum".to_owned());
        }
        if self.names.contains_key(name) {
            return Err(format!("{} is defined already", shown(name)));
        }
        self.names.insert(name.to_vec(), rule);
        Ok(())
    }

    fn quorum(&mut self, name: &[u8]) -> Result<(), String> {
        if self.quorum.is_some() {
            return Err("there is a quorum already".to_owned());
        }
        let rule = match name {
            b"none" => None,
            name => match self.names.get(name) {
                Some(rule) => Some(rule.clone()),
                None => return Err(format!("{} is not defined on a line before", shown(name))),
            },
        };
        self.quorum = Some(rule);
        Ok(())
    }

    fn finish(mut self) -> Result<WitnessPolicy, Vec<PolicyFault>> {
        let whole = |what: &str| PolicyFault { line: 0, what: what.to_owned() };
        let of_log = |key: &VerifierKey| self.logs.iter().any(|log| log.public_key() == key.public_key());
        if self.witnesses.iter().any(|(_, key)| of_log(key)) {
            self.faults.push(whole("a witness has the key of a log: it would vouch for itself"));
        }
        if self.quorum.is_none() && self.faults.is_empty() {
            self.faults.push(whole("there must be one line `quorum <name>` or `quorum none`"));
        }
        match self.quorum {
            Some(quorum) if self.faults.is_empty() => {
                Ok(WitnessPolicy { logs: self.logs, witnesses: self.witnesses, quorum })
            }
            _ => Err(self.faults),
        }
    }
}

fn parse_key(vkey: &[u8], kind: KeyKind, wanted: &str) -> Result<VerifierKey, String> {
    let text = std::str::from_utf8(vkey).map_err(|_| "the vkey is not UTF-8".to_owned())?;
    let key = VerifierKey::parse(text).map_err(|error| error.to_string())?;
    if key.kind() == kind { Ok(key) } else { Err(wanted.to_owned()) }
}
