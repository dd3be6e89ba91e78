//! What to do about a fault that brings no help of its own: most of them say of a key what it is and what it
//! should be, and the next step follows from that.

/// Part of a message, and what to do.
const HELPS: &[(&str, &str)] = &[
    ("not TOML", "texts stand in double quotes, tables in [brackets], and each key stands once"),
    (
        ", not a table",
        "write it as a table: { key = value }, or [its.name] with lines of key = value below it",
    ),
    (", not a text", "write it in double quotes"),
    (", not true or false", "write true or false, without quotes"),
    (", not a list", "write it in brackets, like [\"one\", \"two\"]"),
    (", not a path", "write a path in quotes, { env = \"NAME\" } or { file = \"path\" }"),
    ("is not a path", "write a path in quotes, without NUL and of at most 4096 bytes"),
    ("is not a whole number from", "write a whole number within these bounds, without quotes"),
    ("not with a text, number or :parameter", "write a text, a number, or \":name\" of a parameter"),
    ("not a text, number or :parameter", "write a text, a number, or \":name\" of a parameter"),
    ("an argument is not", "write a text in quotes, a number, true or false"),
    ("is not a name of 3 to 64", "write it like \"police.person\""),
    ("names not exactly one of env and file", "write { env = \"NAME\" } or { file = \"path\" }"),
    ("only a date or timestamp has a format", "leave `format` out, or make the type date or timestamp"),
    ("only a number has min and max", "leave them out, or make the type integer or number"),
    ("only a string has a pattern", "leave `pattern` out, or make the type string"),
    (
        "`pattern` does not parse",
        "mend the regular expression: groups and classes end, a quantifier follows something",
    ),
    ("only a field of type code has `codes`", "leave `codes` out, or write type = \"code\""),
    (
        "`as_of` is not a timestamp",
        "write type = \"timestamp\", and name the column that says when a row was last good",
    ),
    ("the subject's parameter is not", "give it type = \"string\" and take `optional` out"),
    ("which is no parameter", "name one of `params`"),
    ("parameter :", "declare it: params.name = { type = \"…\" }"),
    ("is listed twice", "name it once"),
    ("which is no column", "name a column that `columns` of [source.csv] lists"),
    ("is not a column name", "write the column's name as the source has it"),
    ("a column name has", "write the header's name; a date's day is asked as \"NAME@date\" in `where`"),
    (
        "only @date and @id can follow",
        "write \"NAME@date\" for the day of a timestamp, \"NAME@id\" for an identity number however it is written, or the name alone",
    ),
    ("@id needs a column", "make the column a string, or take @id away"),
    ("@date needs a column", "make the column a timestamp, or take @date away"),
    ("where has no condition", "say what must hold, like { AREA = \":area\" }"),
    ("the operation has no fields", "name a field under [operation.fields]"),
    ("is there already", "give it another name, or take one of the two out"),
    ("lists no code", "add lines like \"1\" = \"male\""),
    ("a mapping has 1 to", "write an [[operation]], or move some to another mapping"),
    ("over 524288 bytes", "move operations to another mapping of the record"),
    ("expression is over", "write the value in the view that the source offers, and map its column"),
    ("expression does not parse", "write it like row.COLUMN == '1' ? 'yes' : 'no'"),
    ("builds a map or struct", "an expression gives one text, number, true or false"),
    ("without TLS there is no `ca`", "take `ca` out, or write mode = \"verify-full\""),
    ("is not a JSON pointer", "write it like \"/items\": a slash before each member's name"),
    ("levels deep", "write a flatter body"),
    ("entries", "take some out"),
    ("at most", "take some out"),
    ("`_count` is not", "write a number in quotes, like _count = \"50\", or leave it out"),
    ("a search value is empty", "write a value, or \":name\" of a parameter"),
    ("is not the name of a header", "write it like \"X-Api-Key\": letters, digits and hyphens"),
    ("`scopes` is not a list", "write it like scopes = [\"system/Patient.rs\"]"),
    ("only one of `cert` and `key`", "name both, or neither"),
    ("is longer than freshness.fail", "make `warn` the shorter of the two"),
    ("a probe has no parameters", "write a statement that stands by itself, like \"select 1\""),
    ("a statement begins with", "write one `select`; nothing is ever written to a source"),
    ("a statement holds no `;`", "take the `;` out"),
    ("a statement holds no NUL", "take the character out"),
    ("a comment that some databases execute", "take the comment out"),
    ("a comment does not end", "end it with */"),
    ("a quoted text does not end", "close the quote"),
    ("does not end", "close it"),
    ("parentheses do not match", "count them: each ( has its ) inside the statement"),
    ("parameters are written :name", "write :name, and declare it under params"),
    ("a colon without a parameter name", "write :name for a parameter; a cast is written cast(x as type)"),
    ("exactly one of `expect` and `expect_error`", "keep the one that says what must come out"),
    ("`mappings` lists", "name at least one file, like mappings = [\"mappings/person.toml\"]"),
    ("[gateway] has 1 to", "add [[gateway.app]] with name and token_sha256"),
    ("listed already", "take the second one out"),
];

/// What a key that is missing looks like.
const EXAMPLES: &[(&str, &str)] = &[
    ("format", "\"adapter/1\""),
    ("mapping", "\"police.person\""),
    ("record", "\"Person\", a record type of the catalogue"),
    ("owner", "the member's id, like \"police\""),
    ("time_zone", "\"Asia/Shanghai\""),
    ("limit", "20: rows at most"),
    ("timeout", "\"2s\""),
    ("kind", "\"lookup\", \"search\" or \"count\""),
    ("type", "\"string\", or another type"),
    ("sql", "\"select …\""),
    ("where", "{ COLUMN = \":parameter\" }"),
    ("url", "{ env = \"NAME\" } or { file = \"path\" }"),
    ("path", "{ env = \"NAME\" } or { file = \"path\" }"),
    ("folder", "{ env = \"NAME\" } or { file = \"path\" }"),
    ("files", "\"calls-*.csv\""),
    ("encoding", "\"utf-8\" or \"gbk\""),
    ("listen", "\"127.0.0.1:8480\""),
    ("journal", "\"journal\", a folder"),
    ("member_folder", "\".\", the folder that `yiwang member init` made"),
    ("token_sha256", "the 64 digits that printf %s \"$TOKEN\" | sha256sum | cut -c1-64 prints"),
    ("mappings", "[\"mappings/person.toml\"]"),
];

/// The next step for a message without one.
pub fn next_step(message: &str) -> String {
    if let Some((_, rest)) = message.split_once(" lacks `")
        && let Some((key, _)) = rest.split_once('`')
    {
        return match EXAMPLES.iter().find(|(known, _)| *known == key) {
            Some((_, example)) if key != "format" || message.starts_with("the mapping") => {
                format!("add {key} = {example}")
            }
            _ => format!("add `{key}`"),
        };
    }
    let found = HELPS.iter().find(|(part, _)| message.contains(part));
    found.map_or("what a mapping may say is in adapters/SPEC.md", |(_, help)| help).to_owned()
}
