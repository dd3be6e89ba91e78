//! Errors that a newcomer meets first name the next step, before anything is sent.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::Path;
use std::process::Command;

const DRAFT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../adapters/departments/police/contracts/police-street-person.json"
);
const CASE: &str = "0190a5c3-0000-7000-8000-000000000001";

/// Exit code, and what was said to standard error.
fn yiwang(folder: &Path, arguments: &[&str]) -> (i32, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_yiwang")).args(arguments).current_dir(folder).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_purpose_or_matter_that_the_catalogue_does_not_have_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let query = |purpose: &str| {
        let words =
            ["query", "record", "--folder", "s", "--app", "desk", "--case", CASE, "--purpose", purpose];
        yiwang(folder.path(), &words)
    };
    let (code, said) = query("social-assistance.eligiblity");
    assert!(code == 2 && said.contains("did you mean `social-assistance.eligibility`?"), "{code}: {said}");
    let (code, said) = query("quite.another-thing-altogether");
    assert!(code == 2 && said.contains("the catalogue has ") && said.contains("birth.one-stop"), "{said}");
    // One that it has gets further, to the folder that is not there.
    let (code, said) = query("social-assistance.eligibility");
    assert!(code == 2 && !said.contains("catalogue"), "{code}: {said}");
    assert!(said.contains("s/member.toml") && said.contains("yiwang member init --folder"), "{said}");
    let open = ["case", "open", "--folder", "s", "--app", "desk", "--matter", "social-asistance"];
    let (code, said) = yiwang(folder.path(), &[&open[..], &["--subject", "x"]].concat());
    assert!(code == 2 && said.contains("did you mean `social-assistance`?"), "{code}: {said}");
    // A word that is only as long as another is not meant.
    let open = ["case", "open", "--folder", "s", "--app", "desk", "--matter", "foo", "--subject", "x"];
    let (code, said) = yiwang(folder.path(), &open);
    assert!(code == 2 && said.contains("the catalogue has ") && !said.contains("did you mean"), "{said}");
    let add = ["case", "add", CASE, "--folder", "s", "--app", "desk", "--subject", "x", "--reason"];
    for (reason, next) in
        [("houshold-member", "did you mean `household-member`?"), ("bored", "there are: household-member, ")]
    {
        let (code, said) = yiwang(folder.path(), &[&add[..], &[reason]].concat());
        assert!(code == 2 && said.contains(next), "{code}: {said}");
    }
}

#[test]
fn a_field_that_no_record_has_is_told_before_anybody_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    for (field, said) in [
        ("name", "write RECORD or RECORD.FIELD, like Person.name"),
        ("Person.Name", "write RECORD or RECORD.FIELD, like Person.name"),
        ("Person.nam", "record `Person` has no field `nam`; did you mean `name`?"),
        ("Person.telescope", "there are: "),
        // What comes with no program may have been added by members: the folder is what is missing.
        ("Persn.nam", "s/member.toml"),
        ("Person.name", "s/member.toml"),
    ] {
        let query = ["query", "record", "--folder", "s", "--app", "desk", "--case", CASE, "--field", field];
        let purpose = ["--purpose", "social-assistance.eligibility"];
        let (code, refused) = yiwang(folder.path(), &[&query[..], &purpose].concat());
        assert!(code == 2 && refused.contains(said), "{field}: {code}: {refused}");
    }
}

#[test]
fn a_resident_id_that_was_mistyped_is_refused_before_anything_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let told = |command: &[&str], subjects: &[&str]| {
        let app = ["--folder", "s", "--app", "desk"];
        let given: Vec<&str> = subjects.iter().flat_map(|subject| ["--subject", subject]).collect();
        yiwang(folder.path(), &[command, &app[..], &given[..]].concat())
    };
    let (right, wrong) = ("980101199001010017", "980101199001010018");
    let open = ["case", "open", "--matter", "social-assistance"];
    let add = ["case", "add", CASE, "--reason", "new-party"];
    let purpose = ["--case", CASE, "--purpose", "social-assistance.eligibility"];
    let record = [&["query", "record"][..], &purpose].concat();
    let prepare = [&["query", "prepare", "--delegation", "d", "-o", "p"][..], &purpose].concat();
    let sign = ["query", "sign", "--case", CASE, "--contract", "c", "--field", "name", "-o", "q"];
    for command in [&open[..], &add, &record[..], &sign] {
        let (code, said) = told(command, &[wrong]);
        assert!(code == 2 && said.contains("`--subject` has the form of a resident id"), "{code}: {said}");
        assert!(said.contains("GB 11643") && said.contains("nothing was sent"), "{said}");
        assert!(
            said.contains("--as-issued") && !said.contains(wrong) && !said.contains("member.toml"),
            "{said}"
        );
        // Adapters and tags take a small `x` for another text: it is not made right here either.
        let (code, said) = told(command, &["98010119900101005x"]);
        assert!(code == 2 && said.contains("small `x`") && said.contains("write `X`"), "{code}: {said}");
        // What holds gets further, to the folder that is not there; and so does what was issued as it is.
        let issued = [command, &["--as-issued"]].concat();
        let held = [right, "98010119900101005X", "E-1990-17"].map(|subject| told(command, &[subject]));
        for (_, said) in held.into_iter().chain([told(&issued, &[wrong])]) {
            assert!(!said.contains("GB 11643") && said.contains("s/member.toml"), "{said}");
        }
    }
    // This one reads the officer's delegation before the folder.
    let (code, said) = told(&prepare, &[wrong]);
    assert!(code == 2 && said.contains("GB 11643") && said.contains("--as-issued"), "{code}: {said}");
    // Of several, each that does not hold is told by its place.
    let (_, said) = told(&open, &[right, wrong, "980101199001010019"]);
    assert!(
        said.contains("number 2 ") && said.contains("number 3 ") && !said.contains("number 1 "),
        "{said}"
    );
}

#[test]
fn a_case_is_named_by_itself_or_as_every_other_command_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let told = |command: &[&str], which: &[&str]| {
        yiwang(folder.path(), &[command, &["--folder", "s", "--app", "desk"], which].concat())
    };
    let add = ["case", "add", "--subject", "E-1990-17", "--reason", "new-party"];
    let close = ["case", "close", "--reason", "decided"];
    for command in [&add[..], &close, &["case", "show"]] {
        for which in [&[CASE][..], &["--case", CASE]] {
            let (code, said) = told(command, which);
            assert!(code == 2 && said.contains("s/member.toml"), "{code}: {said}");
        }
        let (code, said) = told(command, &[]);
        assert!(code == 2 && said.contains("CASE"), "{code}: {said}");
        let (code, said) = told(command, &[CASE, "--case", CASE]);
        assert!(code == 2 && said.contains("cannot be used with"), "{code}: {said}");
    }
}

#[test]
fn what_keygen_says_next_is_a_whole_command() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let mut keygen = Command::new(env!("CARGO_BIN_EXE_yiwang"));
    let made = keygen.args(["officer", "keygen", "--out", "officer.key"]).current_dir(dir).output().unwrap();
    let said = String::from_utf8(made.stdout).unwrap();
    let next =
        said.lines().find_map(|line| line.strip_prefix("the member's IT delegates it: yiwang ")).unwrap();
    assert_eq!(yiwang(dir, &["member", "init", "--folder", "m", "--id", "police", "--name", "p"]).0, 0);
    // The hub, where it is published, is not here.
    let words = next.split_whitespace().filter(|word| *word != "--publish");
    let words: Vec<&str> = words.map(|word| if word == "DIR" { "m" } else { word }).collect();
    let (code, said) = yiwang(dir, &words);
    assert!(code == 0 && dir.join("officer.json").exists(), "{next}: {said}");
}

#[test]
fn a_contract_says_what_stays_of_the_draft_and_who_has_to_sign() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| yiwang(folder.path(), arguments);
    let (code, said) = run(&["contract", "new", DRAFT, "-o", "text.json"]);
    assert_eq!(code, 0, "{said}");
    for part in ["--provider-root", "--consumer-root", "--valid-from", "--valid-until", "approver"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    for field in ["provider.root", "consumer.root", "valid_from", "valid_until", "consumer.approver"] {
        assert!(said.contains(&format!("`{field}` stays as the draft has it: ")), "{field}: {said}");
    }
    let (code, said) = run(&["contract", "publish", "--folder", "m", "text.json"]);
    assert!(code == 2 && said.contains("yiwang contract sign --folder DIR text.json"), "{code}: {said}");
    for (dir, id) in [("m", "police"), ("s", "street-office")] {
        assert_eq!(run(&["member", "init", "--folder", dir, "--id", id, "--name", id]).0, 0);
    }
    let root = |dir: &str| {
        let shown = Command::new(env!("CARGO_BIN_EXE_yiwang"))
            .args(["member", "show", "--folder", dir])
            .current_dir(folder.path())
            .output()
            .unwrap();
        let shown = String::from_utf8(shown.stdout).unwrap();
        let line = shown.lines().find(|line| line.starts_with("root")).unwrap().to_owned();
        line.split_whitespace().last().unwrap().to_owned()
    };
    let (provider, consumer) = (root("m"), root("s"));
    let new = ["contract", "new", DRAFT, "-o", "text.json", "--provider-root", &provider];
    let (code, said) = run(&[&new[..], &["--consumer-root", &consumer]].concat());
    assert!(code == 0 && !said.contains("-root") && said.contains("--valid-from"), "{code}: {said}");
    let (code, said) = run(&["contract", "sign", "--folder", "m", "text.json", "-o", "half.json"]);
    assert_eq!(code, 0, "{said}");
    let (code, said) = run(&["contract", "publish", "--folder", "m", "half.json"]);
    assert!(code == 1 && said.contains("`street-office` signs it"), "{code}: {said}");
    // Who still signs is told, also to a member that signs a second time.
    let signed = |dir: &str, file: &str, out: &str| {
        let mut sign = Command::new(env!("CARGO_BIN_EXE_yiwang"));
        sign.args(["contract", "sign", "--folder", dir, file, "-o", out]).current_dir(folder.path());
        String::from_utf8(sign.output().unwrap().stdout).unwrap()
    };
    let again = signed("m", "half.json", "again.json");
    assert!(again.contains("for `police`; `street-office` still signs"), "{again}");
    let whole = signed("s", "again.json", "contract.json");
    assert!(whole.contains("for `street-office`") && !whole.contains("still signs"), "{whole}");
    // Roots at the wrong sides, and one head for both.
    let (exchanged, out) =
        (["--provider-root", &consumer, "--consumer-root", &provider], ["-o", "other.json"]);
    assert_eq!(run(&[&["contract", "new", DRAFT][..], &exchanged, &out].concat()).0, 0);
    let (code, said) = run(&["contract", "sign", "--folder", "m", "other.json", "-o", "no.json"]);
    assert!(code == 2 && said.contains("the two roots are exchanged: do not sign it"), "{code}: {said}");
    assert!(!folder.path().join("no.json").exists());
    let one = std::fs::read_to_string(DRAFT).unwrap().replace("o-headofconsumerxx", "o-headofproviderxx");
    std::fs::write(folder.path().join("one.json"), one).unwrap();
    let (code, said) = run(&["contract", "new", "one.json", "-o", "two.json"]);
    assert!(
        code == 0 && said.contains("`o-headofproviderxx` is the approver of both sides"),
        "{code}: {said}"
    );
}

const ASKED: [&str; 12] = [
    "contract",
    "draft",
    "--provider",
    "police",
    "--consumer",
    "street-office",
    "--app",
    "desk",
    "--record",
    "Person",
    "--operation",
    "person.by_id",
];

fn draft(folder: &Path, more: &[&str]) -> (i32, String, serde_json::Value) {
    let (code, said) = yiwang(folder, &[&ASKED[..], more].concat());
    let text = std::fs::read(folder.join("draft.json")).unwrap_or_default();
    (code, said, serde_json::from_slice(&text).unwrap_or_default())
}

#[test]
fn a_draft_from_flags_is_whole_but_for_what_people_must_write() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let fields = ["--field", "area_code", "--field", "name", "-o", "draft.json"];
    let purpose = ["--purpose", "social-assistance.eligibility"];
    let (code, said, text) = draft(dir, &[&fields[..], &purpose].concat());
    assert_eq!(code, 0, "{said}");
    assert_eq!((&text["class"], &text["id"]), (&2.into(), &"police-street-office-person".into()), "{text:#}");
    assert_eq!(text["matters"], serde_json::json!(["social-assistance"]));
    let marked = [
        "provider.root",
        "provider.approver",
        "consumer.root",
        "consumer.approver",
        "legal_basis",
        "scenario",
    ];
    for place in marked {
        assert!(said.contains(&format!("to be replaced: {place}: ")), "{place}: {said}");
    }
    for stated in
        ["class 2,", "20 rows", "valid from ", "in cases of social-assistance", "contract new draft.json"]
    {
        assert!(said.contains(stated), "{stated}: {said}");
    }
    // What somebody filled in is not lost.
    let (code, said, _) = draft(dir, &[&fields[..], &purpose].concat());
    assert!(code == 2 && said.contains("name another file"), "{code}: {said}");
    // Neither `new` nor `sign` takes it, and each place is told.
    let (code, said) = yiwang(dir, &["contract", "new", "draft.json", "-o", "text.json"]);
    assert!(code == 2 && said.contains("`legal_basis`: is a placeholder that nobody replaced"), "{said}");
    assert_eq!(yiwang(dir, &["member", "init", "--folder", "m", "--id", "police", "--name", "p"]).0, 0);
    let (code, said) = yiwang(dir, &["contract", "sign", "--folder", "m", "draft.json", "-o", "half.json"]);
    assert_eq!(code, 2, "{said}");
    assert!(marked.iter().all(|place| said.contains(&format!("{place}: is a placeholder"))), "{said}");
    assert!(!dir.join("half.json").exists() && !dir.join("text.json").exists());
    // With its words written the roots are what is left.
    let mut text = text;
    for (place, words) in [("legal_basis", "Decree 809, art. 20"), ("scenario", "see who applies")] {
        text[place] = words.into();
    }
    for side in ["provider", "consumer"] {
        text[side]["approver"] = format!("o-headof{side}xx").into();
    }
    std::fs::write(dir.join("draft.json"), text.to_string()).unwrap();
    let (code, said) = yiwang(dir, &["contract", "new", "draft.json", "-o", "text.json"]);
    assert!(
        code == 2 && said.contains("provider.root: is a placeholder") && said.contains("--provider-root"),
        "{said}"
    );
}

#[test]
fn a_draft_takes_no_flag_that_cannot_stand_and_never_a_class_too_low() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let (code, said, text) = draft(dir, &["--field", "nmae", "-o", "draft.json"]);
    assert!(code == 2 && said.contains("did you mean `name`") && text.is_null(), "{code}: {said}");
    // A member's folder gives its root; without a purpose that is a placeholder too.
    assert_eq!(yiwang(dir, &["member", "init", "--folder", "m", "--id", "health", "--name", "h"]).0, 0);
    let asked = [
        "contract",
        "draft",
        "--provider",
        "m",
        "--consumer",
        "street-office",
        "--app",
        "desk",
        "--record",
        "MentalHealthRecord",
        "--operation",
        "record.by_person",
        "--field",
        "diagnosis",
        "--field",
        "support_need",
        "--version=2",
        "-o",
        "draft.json",
    ];
    let (code, said) = yiwang(dir, &asked);
    assert_eq!(code, 0, "{said}");
    let text: serde_json::Value =
        serde_json::from_slice(&std::fs::read(dir.join("draft.json")).unwrap()).unwrap();
    let stands = serde_json::json!([text["class"], text["version"], text["provider"]["member"]]);
    assert_eq!(stands, serde_json::json!([4, 2, "health"]), "{text:#}");
    for stated in ["purpose", "matters", "assessment", "consumer.root"] {
        assert!(said.contains(&format!("to be replaced: {stated}: ")), "{stated}: {said}");
    }
    assert!(!said.contains("provider.root") && said.contains("bodies travel sealed"), "{said}");
}

#[test]
fn a_draft_asks_for_no_root_that_a_folder_gave() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    for (at, id) in [("m", "police"), ("s", "street-office")] {
        assert_eq!(yiwang(dir, &["member", "init", "--folder", at, "--id", id, "--name", id]).0, 0);
    }
    let then = |provider: &str, consumer: &str| {
        let asked = ["contract", "draft", "--provider", provider, "--consumer", consumer];
        let (code, said) = yiwang(dir, &[&asked[..], &ASKED[6..], &["--field", "name"]].concat());
        assert_eq!(code, 0, "{said}");
        said.lines().find(|line| line.starts_with("then: ")).unwrap().to_owned()
    };
    let new = "then: yiwang contract new DRAFT";
    assert_eq!(then("m", "s"), format!("{new} -o text.json"));
    assert_eq!(then("m", "street-office"), format!("{new} --consumer-root KEY -o text.json"));
    assert_eq!(then("police", "s"), format!("{new} --provider-root KEY -o text.json"));
    assert_eq!(
        then("police", "street-office"),
        format!("{new} --provider-root KEY --consumer-root KEY -o text.json")
    );
}

#[test]
fn what_comes_with_the_program_is_shown_with_fields_types_and_classes() {
    let folder = tempfile::tempdir().unwrap();
    let shown = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_yiwang")).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let person = shown(&["catalogue", "show", "Person"]);
    let line = person.lines().find(|line| line.trim_start().starts_with("birth_date ")).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words, ["birth_date", "date", "class", "2", "date", "of", "birth"]);
    assert!(person.contains("always about a person"), "{person}");
    let list = shown(&["catalogue", "list"]);
    let fields = list.lines().skip_while(|line| !line.starts_with("Dwelling ")).nth(1).unwrap();
    assert!(fields.contains("floors integer/1") && fields.contains("tenure_kind code/2"), "{fields}");
    for (kind, id) in [("purpose", "social-assistance.eligibility"), ("matter", "social-assistance")] {
        assert!(list.lines().any(|line| line.split_whitespace().take(2).eq([kind, id])), "{list}");
    }
    let list: serde_json::Value = serde_json::from_str(&shown(&["catalogue", "list", "-o", "json"])).unwrap();
    let records = list["program"].as_array().unwrap();
    let person = records.iter().find(|one| one["record"] == "Person").unwrap();
    assert_eq!(
        (&person["fields"]["name"]["type"], &person["fields"]["name"]["class"]),
        (&"string".into(), &2.into())
    );
    assert!(list["matters"]["social-assistance"].is_string());
    let (code, said) = yiwang(folder.path(), &["catalogue", "show", "Persom"]);
    assert!(
        code == 2 && said.contains("did you mean `Person`?") && said.contains("--folder"),
        "{code}: {said}"
    );
    let (code, said) = yiwang(folder.path(), &["catalogue", "show", "Telescope"]);
    assert!(code == 2 && said.contains("`yiwang catalogue list`"), "{code}: {said}");
    assert!(!said.contains("did you mean"), "{said}");
    let (code, said) = yiwang(folder.path(), &["catalogue", "show", "Person", "-o", "person.json"]);
    assert!(
        code == 2 && said.contains("no envelope") && !folder.path().join("person.json").exists(),
        "{said}"
    );
}

#[test]
fn what_is_not_read_to_its_end_is_no_fault_and_what_cannot_be_written_is_one() {
    let show = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_yiwang"));
        command.args(["catalogue", "list"]);
        command
    };
    let whole = show().output().unwrap();
    assert!(whole.status.success() && !whole.stdout.is_empty());
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let unread = show().stdout(writer).output().unwrap();
    let said = String::from_utf8(unread.stderr).unwrap();
    assert!(unread.status.code() == Some(3) && said.contains("cannot be written: Broken pipe"), "{said}");
    // A reader that has its first line and goes, as `head` does.
    let (reader, writer) = std::io::pipe().unwrap();
    let mut shown = show().stdout(writer).stderr(std::process::Stdio::piped()).spawn().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::with_capacity(1, reader), &mut String::new())
        .unwrap();
    assert_eq!(shown.wait().unwrap().code(), Some(0));
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let unwritten = show().stdout(full()).output().unwrap();
    let said = String::from_utf8(unwritten.stderr).unwrap();
    assert_eq!(unwritten.status.code(), Some(3), "{said}");
    assert!(said.contains("what this command says cannot be written: No space left"), "{said}");
    // Nor does it panic where its error cannot be told.
    assert_eq!(show().stdout(full()).stderr(full()).status().unwrap().code(), Some(3));
}

#[test]
fn a_hub_that_could_not_run_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let init = |origin: &str, name: &str| {
        let words = ["hub", "init", "--dir", "h", "--origin", origin, "--trust-domain", "city.example"];
        let doors = ["--name", name, "--listen", "127.0.0.1:0", "--enrol-listen", "127.0.0.1:0"];
        yiwang(folder.path(), &[&words[..], &doors].concat())
    };
    for (origin, name, words) in [
        ("log.city.example/yiwang", "999.1.1.1", "`names` lists what is neither a DNS name"),
        ("log.city.example/yiwang", "http://hub.city.example", "without scheme and port"),
        ("https://log.city.example/yiwang", "hub.city.example", "the origin is a URL with a scheme"),
    ] {
        let (code, said) = init(origin, name);
        assert!(code == 2 && said.contains(words) && said.contains("nothing was made"), "{code}: {said}");
        assert!(!folder.path().join("h").exists(), "{name}");
    }
    assert_eq!(init("log.city.example/yiwang", "hub.city.example").0, 0);
}

#[test]
fn what_is_nearly_a_resident_id_gets_a_note_without_it() {
    let folder = tempfile::tempdir().unwrap();
    for (subject, note) in [
        ("98010119900101001", "note: `--subject` is 17 digits; a resident id has 18"),
        ("9801011990010100177", "note: `--subject` is 19 digits; a resident id has 18"),
        ("980101 19900101 0017", "note: `--subject` has 18 digits and blanks"),
        ("980101199001010017", ""),
        ("E-1990-17", ""),
    ] {
        let open = ["case", "open", "--folder", "s", "--app", "desk", "--matter", "social-assistance"];
        let (code, said) = yiwang(folder.path(), &[&open[..], &["--subject", subject]].concat());
        assert!(code == 2 && said.contains("s/member.toml") && !said.contains(subject), "{code}: {said}");
        assert!(said.contains(note) && said.contains("note: ") != note.is_empty(), "{subject}: {said}");
    }
}

#[test]
fn what_is_no_token_is_not_told_as_a_file_that_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let (code, said) = yiwang(folder.path(), &["member", "enrol", "--folder", "m", "--token", "TOKEN-4711"]);
    assert!(code == 2 && said.contains("neither a token, which begins with `yiwang-enrol-1.`"), "{said}");
    assert!(!said.contains("4711"), "{said}");
}

#[test]
fn a_shell_can_complete_the_commands_of_everybody() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_yiwang")).args(["completions", "bash"]).output().unwrap();
    assert!(output.status.success());
    let file = folder.path().join("completions");
    std::fs::write(&file, output.stdout).unwrap();
    // As a shell uses it: what begins with `comp`, and what follows `contract`.
    let script = format!(
        "source {}; named=$(complete -p yiwang); named=${{named##*-F }}; named=${{named%% *}}; for line in 'comp' 'contract dr'; do COMP_WORDS=(yiwang $line); \
         COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
         $named yiwang \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"; \
         echo \"${{COMPREPLY[@]}}\"; done",
        file.display()
    );
    let done = Command::new("bash").args(["-c", &script]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&done.stdout), "completions\ndraft\n", "{done:?}");
}

#[test]
fn a_mapping_is_checked_by_the_one_program_too() {
    let folder = tempfile::tempdir().unwrap();
    let mapping = concat!(env!("CARGO_MANIFEST_DIR"), "/../../adapters/departments/police/residence.toml");
    let check = |words: &[&str]| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_yiwang")).args(words).current_dir(folder.path()).output();
        let output = output.unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let short = check(&["check", "--offline", mapping]);
    assert_eq!(short, check(&["adapter", "check", "--offline", mapping]));
    assert_eq!(short.0, Some(0), "{}", short.1);
}
