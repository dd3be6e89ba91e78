//! What to write where `adapter.toml` lacks a key.

/// The next step for a key that is missing; its words name no value of the file.
pub(super) fn next_step(key: &str) -> Option<&'static str> {
    Some(match key {
        "format" => "write `format = \"adapter-host/1\"` as the first line",
        "member_folder" => {
            "write `member_folder = \".\"` where this file lies in the folder that `yiwang member init` made"
        }
        "mappings" => "list the mapping files, like `mappings = [\"mappings/person.toml\"]`",
        "journal" => "write `journal = \"journal\"`: a folder beside this file, made at the first start",
        "listen" => "write `listen = \"127.0.0.1:8480\"`, with a port that is free",
        "app" => "add a [[gateway.app]] with `name` and `token_sha256` for each app",
        "name" => {
            "write the name of the app's key; `yiwang member delegate --role app --name NAME --publish` makes one"
        }
        "token_sha256" => {
            "write the 64 digits that `printf %s \"$TOKEN\" | sha256sum | cut -c1-64` prints of the app's token"
        }
        _ => return None,
    })
}
