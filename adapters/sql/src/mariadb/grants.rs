//! What a role may do, by the grants that the server itself lists, those of roles it can take among them.
//! The list of what is harmless is closed: a right of tomorrow's server counts as one to write.

use crate::server::Rights;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Error};
use std::collections::BTreeSet;

/// Rights that change nothing.
const HARMLESS: [&str; 12] = [
    "USAGE",
    "SELECT",
    "SHOW VIEW",
    "SHOW DATABASES",
    "SHOW CREATE ROUTINE",
    "PROCESS",
    "REFERENCES",
    "BINLOG MONITOR",
    "REPLICATION CLIENT",
    "SLAVE MONITOR",
    "REPLICA MONITOR",
    // Counted apart.
    "EXECUTE",
];
/// Roles that are followed; one that has more has all there is.
const ROLES_MAX: usize = 32;

pub(super) async fn read(conn: &mut Conn) -> Result<Rights, Error> {
    let role: Option<String> = conn.query_first("select current_user()").await?;
    let mut rights = Rights { role: role.unwrap_or_default(), ..Rights::default() };
    let on: Option<Option<String>> = conn.query_first("select current_role()").await?;
    let mut known = BTreeSet::new();
    let mut asked: Vec<Option<String>> = vec![None];
    while let Some(taken) = asked.pop() {
        // A role's rights are shown to whoever has taken it.
        if let Some(name) = &taken
            && let Err(error) = conn.query_drop(format!("set role {name}")).await
        {
            let Error::Server(fault) = error else { return Err(error) };
            rights.writes.push(format!(
                "rights of role {}, which it may not see ({})",
                name.replace('`', ""),
                fault.code
            ));
            continue;
        }
        let lines: Vec<String> = conn.query("show grants").await?;
        for line in &lines {
            match grant(line) {
                Some(Grant::Rights { granted, object }) => judge(&granted, &object, line, &mut rights),
                Some(Grant::Role(name)) if known.len() < ROLES_MAX => {
                    if known.insert(name.clone()) {
                        asked.push(Some(name));
                    }
                }
                Some(Grant::DefaultRole) => {}
                _ => rights.writes.push("something that a grant says in words unknown here".to_owned()),
            }
        }
    }
    if !known.is_empty() {
        let name = match on.flatten() {
            None => "none".to_owned(),
            // MySQL names it quoted, or says in words that there is none.
            Some(name) if name == "NONE" || name.starts_with('`') => name,
            Some(name) => format!("`{}`", name.replace('`', "``")),
        };
        conn.query_drop(format!("set role {name}")).await?;
    }
    rights.writes.sort_unstable();
    rights.writes.dedup();
    rights.lends.sort_unstable();
    rights.lends.dedup();
    Ok(rights)
}

#[derive(Debug, PartialEq, Eq)]
enum Grant {
    Rights {
        granted: Vec<String>,
        object: String,
    },
    /// Quoted as the server writes it.
    Role(String),
    /// Which role is on from the start changes nothing: all are followed.
    DefaultRole,
}

/// Reads a line of `show grants`. Names stand between backquotes and never end it.
fn grant(line: &str) -> Option<Grant> {
    if line.starts_with("SET DEFAULT ROLE ") {
        return Some(Grant::DefaultRole);
    }
    let rest = line.strip_prefix("GRANT ")?;
    let to = find(rest, " TO ")?;
    let head = rest.get(..to)?;
    let Some(on) = find(head, " ON ") else {
        return head.starts_with(['`', '\'']).then(|| Grant::Role(head.to_owned()));
    };
    let granted = split(head.get(..on)?);
    let object = head.get(on + 4..)?.replace('`', "");
    Some(Grant::Rights { granted, object })
}

/// Where a word stands outside quotes and parentheses.
fn find(text: &str, word: &str) -> Option<usize> {
    outside(text).find(|at| text.get(*at..).is_some_and(|rest| rest.starts_with(word)))
}

/// Rights, without the columns that they are limited to.
fn split(text: &str) -> Vec<String> {
    let mut rights = Vec::new();
    let mut start = 0;
    let commas = outside(text).filter(|at| text.get(*at..).is_some_and(|rest| rest.starts_with(',')));
    for end in commas.chain([text.len()]) {
        let right = text.get(start..end).and_then(|right| right.split('(').next()).unwrap_or_default();
        rights.push(right.trim().to_owned());
        start = end + 1;
    }
    rights
}

/// Places outside quotes and parentheses.
fn outside(text: &str) -> impl Iterator<Item = usize> + '_ {
    let mut quote = None;
    let mut depth = 0_u32;
    text.char_indices().filter_map(move |(at, c)| {
        match quote {
            Some(open) => {
                if c == open {
                    quote = None;
                }
                return None;
            }
            None if matches!(c, '`' | '\'') => {
                quote = Some(c);
                return (depth == 0).then_some(at);
            }
            None => {}
        }
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => return (depth == 0).then_some(at),
        }
        None
    })
}

fn judge(granted: &[String], object: &str, line: &str, rights: &mut Rights) {
    let bad: Vec<String> = granted
        .iter()
        .filter(|right| !HARMLESS.contains(&right.as_str()))
        .map(|right| right.to_ascii_lowercase())
        .collect();
    if !bad.is_empty() {
        rights.writes.push(format!("{} on {object}", bad.join(", ")));
    }
    if granted.iter().any(|right| right == "EXECUTE") {
        rights.lends.push(format!("execute on {object}"));
    }
    if line.contains(" WITH GRANT OPTION") || line.contains(" WITH ADMIN OPTION") {
        rights.writes.push(format!("giving away rights on {object}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(line: &str) -> (Vec<String>, Vec<String>) {
        let mut rights = Rights::default();
        if let Some(Grant::Rights { granted, object }) = grant(line) {
            judge(&granted, &object, line, &mut rights);
        }
        (rights.writes, rights.lends)
    }

    #[test]
    fn only_rights_that_change_nothing_pass() {
        for harmless in [
            "GRANT USAGE ON *.* TO `adapter`@`%` IDENTIFIED BY PASSWORD '*AB INSERT ON x TO y'",
            "GRANT SELECT, SHOW VIEW ON `people`.* TO `adapter`@`%`",
            "GRANT SELECT (`ID`, `UPDATE ON x, DELETE`) ON `people`.`person` TO `adapter`@`%`",
        ] {
            assert_eq!(judged(harmless), (vec![], vec![]), "{harmless}");
        }
        for (line, writes) in [
            ("GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost`", "all privileges on *.*"),
            ("GRANT SELECT, INSERT ON `people`.* TO `a`@`%`", "insert on people.*"),
            ("GRANT SELECT (`A`), UPDATE (`B`, `C`) ON `p`.`t` TO `a`@`%`", "update on p.t"),
            ("GRANT FILE ON *.* TO `a`@`%`", "file on *.*"),
            ("GRANT PROXY ON ''@'%' TO 'root'@'localhost'", "proxy on ''@'%'"),
            ("GRANT SELECT ON `p`.* TO `a`@`%` WITH GRANT OPTION", "giving away rights on p.*"),
            ("GRANT SOMETHING NEW ON *.* TO `a`@`%`", "something new on *.*"),
        ] {
            assert_eq!(judged(line).0, [writes], "{line}");
        }
        assert_eq!(judged("GRANT EXECUTE ON FUNCTION `p`.`f` TO `a`@`%`").1, ["execute on FUNCTION p.f"]);
        assert_eq!(grant("GRANT `writer` TO `a`@`%`"), Some(Grant::Role("`writer`".to_owned())));
        assert_eq!(grant("SET DEFAULT ROLE `x` FOR `a`@`%`"), Some(Grant::DefaultRole));
        assert_eq!(grant("REVOKE x"), None);
    }
}
