//! Cosigned checkpoints before somebody else's judge: Go's `sumdb/note`, as Debian packages it.

use std::path::Path;
use std::process::Command;

/// The names whose signatures Go finds good; none where Go or its module is not installed.
pub fn judged(checkpoint: &Path, log: &str, cosigners: &[String]) -> Option<Vec<String>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/heads/cosigned.go");
    let go = |arguments: &[&str]| {
        Command::new("go")
            .args(arguments)
            .env("GO111MODULE", "off")
            .env("GOPATH", "/usr/share/gocode")
            .env("GOFLAGS", "")
            .env("GOCACHE", std::env::temp_dir().join("yiwang-go-cache"))
            .output()
    };
    let there = go(&["list", "golang.org/x/mod/sumdb/note"]).is_ok_and(|output| output.status.success());
    if !there {
        println!("SKIPPED: no Go with golang.org/x/mod (Debian: golang-go, golang-golang-x-mod-dev)");
        return None;
    }
    let (script, checkpoint) = (script.display().to_string(), checkpoint.display().to_string());
    let mut arguments = vec!["run", &script, &checkpoint, log];
    arguments.extend(cosigners.iter().map(String::as_str));
    let output = go(&arguments).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect())
}
