//! The fences of the house: reads every source file and lists, for all faults at once, `file:line: what must not stand there`.
//!
//! Two traps: a fence around a folder that was renamed guards nothing, so a missing or empty folder is a fault of its own; and a fence that never bit
//! anybody may be painted on the wall, so each of them is fed a bad line.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// Everything by which the outside gets in.
const PURE: &[&str] = &[
    "SystemTime",
    "Instant",
    "crate::clock",
    "std::fs",
    "std::net",
    "std::env",
    "std::thread",
    "std::process",
    "tokio",
    "async ",
    ".await",
    "rand::",
    "tracing::",
    "rdkafka",
    "rocksdb",
    "reqwest",
    "hyper",
    "HashMap",
    "HashSet",
];
/// Reading the time, wall clock or monotonic.
const TIME: &[&str] = &["SystemTime::now", "Instant::now", "clock_gettime", "Zoned::now", "jiff::Timestamp::now", "Utc::now", "UNIX_EPOCH.elapsed"];

struct Fence {
    /// Folders or files under `src/`; `.` is all of it.
    inside: &'static [&'static str],
    /// Where it does not count.
    except: &'static [&'static str],
    /// What must be absent.
    words: &'static [&'static str],
    /// What the next person should know.
    reason: &'static str,
}

const FENCES: &[Fence] = &[
    Fence { inside: &["delivery", "channel", "event", "template", "pix"], except: &["event/registry"], words: PURE, reason: "a pure folder" },
    Fence {
        inside: &["engine/overlay.rs", "engine/gate.rs", "engine/resume.rs", "dispatch/ledger.rs", "dispatch/ledger"],
        except: &[],
        words: PURE,
        reason: "a pure part of the shell",
    },
    Fence { inside: &["."], except: &["clock.rs"], words: TIME, reason: "the time is read in src/clock.rs; elsewhere `now` is an argument" },
    Fence { inside: &["."], except: &["engine/store"], words: &["rocksdb::"], reason: "only engine/store knows RocksDB" },
    Fence {
        inside: &["."],
        except: &["channel", "dispatch", "gateway"],
        words: &["crate::channel"],
        reason: "only dispatch/ calls providers, only gateway/ reads their webhooks",
    },
    Fence {
        inside: &["."],
        except: &["dispatch/post.rs", "event/registry", "simulator", "gateway/tests", "observe/management.rs", "observe/logs.rs"],
        words: &["reqwest"],
        reason: "only the dispatcher calls providers (the registry's client and the simulator call others, two tests of observe/ call us or name it)",
    },
    Fence {
        inside: &["simulator"],
        except: &[],
        words: &["crate::delivery", "crate::channel"],
        reason: "the simulator speaks from the providers' documents, or it would share our mistakes",
    },
    Fence { inside: &["."], except: &["clock.rs", "config"], words: &["clippy::disallowed"], reason: "nobody else may lift a ban of .clippy.toml" },
    Fence {
        inside: &["."],
        except: &["cli"],
        words: &["clippy::print_std", "clippy::dbg_macro"],
        reason: "only the command line prints, or text escapes the masks",
    },
    Fence { inside: &["."], except: EXPOSING, words: &[".expose()"], reason: "secrets are opened where src/privacy/secret.rs says, and nowhere else" },
    Fence { inside: &["."], except: &[], words: &["use crate::{", "allow(clippy::all"], reason: "written one by one, so that these fences can see it" },
];

/// Who may open a secret. The doc of `Secret::expose` names the same folders.
const EXPOSING: &[&str] = &["privacy", "template", "dispatch", "gateway", "channel"];

/// Every folder of `src/`: a new one must say whether it is pure.
const SHELL: &[&str] = &["app", "cli", "config", "dispatch", "engine", "gateway", "observe", "privacy", "simulator", "topics"];

/// The modules of `lib.rs`.
const ROOMS: &[&str] = &[
    "event",
    "delivery",
    "engine",
    "dispatch",
    "channel",
    "template",
    "gateway",
    "pix",
    "privacy",
    "observe",
    "clock",
    "lifeline",
    "simulator",
    "config",
    "app",
    "topics",
    "cli",
    "crash_point",
    "seeded_bug",
];

/// Pure folders must think about every variant.
const CLOSED: &[&str] = &["delivery", "channel"];

/// Folders whose text is ours, from the package's root.
const OURS: &[&str] = &["src", "tests", "benches", "config", "docker", "schemas", "build.rs", "Cargo.toml", "Makefile", "README.md", ".ci"];

/// Where a machine of somebody's shows through. Put together, so that this file does not find itself.
const MACHINE: &[&str] = &[concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/us", "r/local"), concat!("/wo", "rk/"), concat!("/Us", "ers/")];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All files under `path` (itself, if it is one), sorted; none if it is missing.
fn files(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_path_buf()];
    }
    let mut found: Vec<_> = fs::read_dir(path).into_iter().flatten().flat_map(|entry| files(&entry.expect("a folder can be listed").path())).collect();
    found.sort();
    found
}

/// Whether `file` (relative to `src/`) is `place`, its module file, or lies below it.
fn within(file: &str, place: &str) -> bool {
    place == "." || file == place || file.strip_prefix(place).is_some_and(|rest| rest.starts_with('/') || rest == ".rs")
}

/// What is wrong with one source file; `file` is relative to `src/`.
fn faults(file: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("//") {
            continue;
        }
        let mut fault = |word: &str, reason: &str| found.push(format!("src/{file}:{}: `{}`: {reason}", index + 1, word.trim()));
        for fence in FENCES {
            if fence.inside.iter().any(|place| within(file, place)) && !fence.except.iter().any(|place| within(file, place)) {
                fence.words.iter().filter(|word| line.contains(**word)).for_each(|word| fault(word, fence.reason));
            }
        }
        if within(file, "delivery") && line.match_indices("crate::").any(|(at, _)| !line[at..].starts_with("crate::delivery")) {
            fault("crate::", "arrows point towards delivery/, none leave it");
        }
        let room = line.split_once("super::super::").map_or("", |(_, rest)| rest.split([':', ';', ',']).next().unwrap_or(""));
        if ROOMS.contains(&room) {
            fault("super::super", "another room is named from the root, so that these fences can see it");
        }
        let opens = ["unsafe {", "unsafe impl", "unsafe fn", "unsafe extern"].iter().any(|word| line.contains(word));
        if opens
            && !text
                .lines()
                .take(index)
                .skip(index.saturating_sub(8))
                .any(|near| ["// SAFETY:", "/// # Safety"].iter().any(|word| near.trim_start().starts_with(word)))
        {
            fault("unsafe", "a SAFETY comment stands above it");
        }
    }
    found
}

/// What is wrong with the folders that the fences stand around.
fn folder_faults(src: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let sources = |place: &str| files(&src.join(place)).into_iter().filter(|file| file.extension().is_some_and(|end| end == "rs")).count();
    for place in FENCES.iter().flat_map(|fence| fence.inside) {
        if sources(place) == 0 {
            found.push(format!("src/{place}: a fence stands around it, but it is missing or empty"));
        }
    }
    for place in CLOSED {
        if !fs::read_to_string(src.join(place).join("mod.rs")).is_ok_and(|text| text.contains("#![deny(clippy::wildcard_enum_match_arm)]")) {
            found.push(format!("src/{place}/mod.rs: #![deny(clippy::wildcard_enum_match_arm)] is missing at its top"));
        }
    }
    for entry in fs::read_dir(src).into_iter().flatten() {
        let path = entry.expect("a folder can be listed").path();
        let name = path.file_name().expect("an entry has a name").to_string_lossy().into_owned();
        let pure = FENCES.iter().any(|fence| fence.words == PURE && fence.inside.contains(&name.as_str()));
        if path.is_dir() && !pure && !SHELL.contains(&name.as_str()) {
            found.push(format!("src/{name}: a new folder: say in tests/tidy.rs whether it is pure"));
        }
    }
    found
}

fn report(found: &[String]) -> String {
    found.iter().fold(format!("{} faults\n", found.len()), |mut text, fault| {
        writeln!(text, "{fault}").expect("a string takes what is written");
        text
    })
}

#[test]
fn nothing_stands_where_it_must_be_absent() {
    let src = root().join("src");
    let mut found = folder_faults(&src);
    for path in files(&src) {
        let file = path.strip_prefix(&src).expect("it lies below").to_string_lossy().into_owned();
        found.extend(faults(&file, &fs::read_to_string(&path).expect("sources are text")));
    }
    assert!(found.is_empty(), "{}", report(&found));
}

#[test]
fn no_release_has_a_seeded_bug() {
    let cargo: toml::Table = fs::read_to_string(root().join("Cargo.toml")).expect("the manifest is text").parse().expect("the manifest is TOML");
    assert_eq!(cargo["features"]["default"].as_array().map(Vec::len), Some(0), "nothing is on unless it is asked for");
    let bugs = fs::read_to_string(root().join("src/seeded_bug.rs")).expect("the bugs have a file");
    assert!(bugs.contains("#[cfg(not(debug_assertions))]\ncompile_error!"), "a release with bugs must not compile");
    for path in files(&root().join("src")) {
        let text = fs::read_to_string(&path).expect("sources are text");
        let lines: Vec<&str> = text.lines().collect();
        for (index, line) in lines.iter().enumerate().filter(|(_, line)| line.contains("seeded_bug")) {
            let before = index.checked_sub(1).map_or("", |before| lines[before].trim());
            let guarded = [before, index.checked_sub(2).map_or("", |before| lines[before].trim())].contains(&"#[cfg(feature = \"mutants\")]");
            assert!(guarded || line.trim_start().starts_with("//"), "{}:{}: a bug without its #[cfg(feature = \"mutants\")]", path.display(), index + 1);
        }
    }
}

/// The guard's own lines, compiled as for a release and as for a test: what looks like a guard need not be one.
#[test]
fn a_release_with_seeded_bugs_does_not_compile() {
    assert!(fs::read_to_string(root().join("src/lib.rs")).expect("sources are text").contains("#[cfg(feature = \"mutants\")]\nmod seeded_bug;"));
    let bugs = fs::read_to_string(root().join("src/seeded_bug.rs")).expect("the bugs have a file");
    let (start, guard) = (bugs.find("#[cfg(not(debug_assertions))]").expect("the guard"), |start: usize| bugs[start..].split_inclusive(';').next());
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("guard.rs");
    fs::write(&file, guard(start).expect("it ends")).expect("it can be written");
    let compile = |assertions: &str| {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let mut rustc = std::process::Command::new(rustc);
        rustc.args(["--crate-type=lib", "--emit=metadata", "--edition=2024", "-C", assertions, "--out-dir"]).arg(folder.path()).arg(&file);
        rustc.output().expect("there is a compiler")
    };
    let (release, test) = (compile("debug-assertions=no"), compile("debug-assertions=yes"));
    assert!(test.status.success(), "{}", String::from_utf8_lossy(&test.stderr));
    assert!(
        !release.status.success() && String::from_utf8_lossy(&release.stderr).contains("must not be part of a release"),
        "a release with bugs must not compile"
    );
}

/// The names in a list of a source file, one a line, sorted.
fn listed(file: &str, beginning: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join(file)).expect("sources are text");
    let list = text.split_once(beginning).and_then(|(_, rest)| rest.split_once("];")).expect("the list").0;
    let mut names: Vec<_> = list.lines().filter_map(|line| Some(line.trim().strip_prefix('"')?.strip_suffix("\",")?.to_owned())).collect();
    names.sort();
    names
}

/// The names that follow `call` in the source, but for one file: sorted, each as often as it stands there.
fn named(call: &str, except: &str) -> Vec<String> {
    let mut names = Vec::new();
    for path in files(&root().join("src")).iter().filter(|path| !path.ends_with(except)) {
        let text = fs::read_to_string(path).expect("sources are text");
        names.extend(text.split(call).skip(1).map(|rest| rest.split('"').next().expect("a split has a part").to_owned()));
    }
    names.sort();
    names
}

#[test]
fn each_seeded_bug_is_planted_and_stands_in_the_list_and_in_its_table() {
    let bugs = listed("src/seeded_bug.rs", "const BUGS: [&str; 22] = [");
    let mut planted = named("planted(\"", "src/nothing.rs");
    planted.dedup();
    assert_eq!(planted, bugs, "a bug is missing in the source, or not listed");
    let text = fs::read_to_string(root().join("src/seeded_bug.rs")).expect("the bugs have a file");
    let mut told: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("//! | `")?.split('`').next().map(str::to_owned)).collect();
    told.sort();
    assert_eq!(told, bugs, "the table says something else");
}

#[test]
fn each_crash_point_is_passed_at_one_place_and_has_a_name_of_the_list() {
    let points = listed("src/crash_point.rs", "const POINTS: [&str; 19] = [");
    assert_eq!(points.len(), 19);
    assert_eq!(named("crash_point!(\"", "src/crash_point.rs"), points, "a point is missing, passed twice, or not listed");
}

/// Rules of the crash rig that are raised without evidence that could be broken in a copy, and what shows that they are.
const SHOWN_OTHERWISE: &[(&str, &str)] = &[
    ("too little judged", "of numbers alone: rules::blind shows it runs in which one thing is too little"),
    ("nothing met", "of numbers alone, likewise: what of keys was compared"),
    ("memory", "a number against a bound"),
    ("recovery of a part", "numbers against bounds: report::blind shows them, and what is just within them"),
    ("not reached", "the driver's word that a process did not come by its point, or did not do there what it must"),
    ("stop", "the driver's word that a process did not end in order"),
    ("I1 no end in time", "the driver's wait; of what it waits for in vain the evidence is broken as `I1 lost: no terminal status`"),
    ("I10 state differs", "state::blind shows it four kinds of broken stores in each run"),
    ("I10 state goes on", "the stores of kills hold such states: a long run that has seen none judged too little"),
    ("the judge is blind", "it is what tells of the others"),
];

/// The rules that a source of the rig raises, each with the number of its line; and the lines that raise one whose name does not stand there.
fn rules_raised(text: &str) -> (Vec<(String, usize)>, Vec<usize>) {
    let (mut named, mut nameless) = (Vec::new(), Vec::new());
    for (at, call) in text.match_indices(".fault(").chain(text.match_indices("Fault { rule: ")) {
        let line = text[..at].matches('\n').count() + 1;
        // Up to the comma behind the name, or behind the names of which a condition chooses one.
        let (mut depth, mut quoted, mut name) = (0_i32, false, String::new());
        for c in text[at + call.len()..].chars() {
            match c {
                '"' => quoted = !quoted,
                '(' | '{' | '[' if !quoted => depth += 1,
                ')' | '}' | ']' if !quoted => depth -= 1,
                _ => {}
            }
            if depth < 0 || (depth == 0 && c == ',' && !quoted) {
                break;
            }
            name.push(c);
        }
        let names: Vec<String> = name.split('"').skip(1).step_by(2).map(str::to_owned).collect();
        if names.is_empty() {
            nameless.push(line);
        }
        named.extend(names.into_iter().map(|name| (name, line)));
    }
    (named, nameless)
}

/// The rules of which a list of broken copies has one: in a list of `Breaking`s, the first text of each entry.
fn copies(text: &str) -> Vec<String> {
    let lists = text.split("Breaking)] = &[").skip(1).map(|rest| rest.split("\n];").next().unwrap_or(""));
    let entries = lists.flat_map(|list| list.split("\n    (").skip(1));
    entries.filter_map(|entry| Some(entry.trim_start().strip_prefix('"')?.split('"').next()?.to_owned())).collect()
}

/// What is wrong between the rules that are raised and the copies that show them.
fn uncopied(raised: &[(String, String)], copies: &[String]) -> Vec<String> {
    let otherwise = |rule: &str| SHOWN_OTHERWISE.iter().any(|(other, _)| *other == rule);
    let mut found = Vec::new();
    for (rule, place) in raised {
        match (copies.contains(rule), otherwise(rule)) {
            (false, false) => found.push(format!("{place}: `{rule}`: no broken copy in tests/rig/broken.rs shows that it can be raised")),
            (true, true) => found.push(format!("{place}: `{rule}`: it has a broken copy and need not stand in SHOWN_OTHERWISE")),
            (true, false) | (false, true) => {}
        }
    }
    let known = |rule: &str| raised.iter().any(|(other, _)| other == rule);
    let listed = SHOWN_OTHERWISE.iter().map(|(rule, _)| *rule).chain(copies.iter().map(String::as_str));
    found.extend(listed.filter(|rule| !known(rule)).map(|rule| format!("`{rule}`: nobody raises it")));
    found
}

#[test]
fn every_rule_of_the_rig_has_a_broken_copy() {
    let rig = root().join("tests/rig");
    let (mut raised, mut copied, mut found) = (Vec::new(), Vec::new(), Vec::new());
    for path in files(&rig).into_iter().filter(|path| path.extension().is_some_and(|end| end == "rs")) {
        let text = fs::read_to_string(&path).expect("sources are text");
        copied.extend(copies(&text));
        let file = path.strip_prefix(root()).expect("it lies below").display().to_string();
        let (named, nameless) = rules_raised(&text);
        raised.extend(named.into_iter().map(|(rule, line)| (rule, format!("{file}:{line}"))));
        found.extend(nameless.into_iter().map(|line| format!("{file}:{line}: the name of a rule stands where it is raised, so that this fence can see it")));
    }
    assert!(raised.len() > 80 && copied.len() > 80, "{} rules and {} copies: this reads the wrong files", raised.len(), copied.len());
    found.extend(uncopied(&raised, &copied));
    assert!(found.is_empty(), "{}", report(&found));
}

#[test]
fn a_rule_without_a_broken_copy_is_found() {
    let source = "self.fault(\"I1 lost, it is\", None, x);\ncourt.fault(\n  \"I2 early\",\n None);\nself.fault(if a { \"I3 a\" } else { \"I3 b\" }, id, s);\nlet f = Fault { rule: \"stop\", message };\nself.fault(rule, None, x);";
    let (raised, nameless) = rules_raised(source);
    let names: Vec<(&str, usize)> = raised.iter().map(|(rule, line)| (rule.as_str(), *line)).collect();
    assert_eq!(names, [("I1 lost, it is", 1), ("I2 early", 2), ("I3 a", 5), ("I3 b", 5), ("stop", 6)]);
    assert_eq!(nameless, [7]);
    let listed = copies(
        "const A: &[(&str, Breaking)] = &[\n    (\"I1 lost\", |e| {\n        f((\"no\", 1));\n    }),\n    (\n        \"I2 early\",\n        g,\n    ),\n];\n    (\"none\", 1)",
    );
    assert_eq!(listed, ["I1 lost", "I2 early"]);
    let raised: Vec<(String, String)> =
        SHOWN_OTHERWISE.iter().map(|(rule, _)| (*rule).to_owned()).chain(["I1 lost".to_owned()]).map(|rule| (rule, "a.rs:1".to_owned())).collect();
    assert_eq!(uncopied(&raised, &["I1 lost".to_owned()]), Vec::<String>::new());
    assert_eq!(uncopied(&raised, &[]).len(), 1, "a rule without a copy");
    assert_eq!(uncopied(&raised, &["I1 lost".to_owned(), "I1 gone".to_owned()]).len(), 1, "a copy of no rule");
    assert_eq!(uncopied(&raised, &["I1 lost".to_owned(), "stop".to_owned()]).len(), 1, "one that needs no exception");
    assert_eq!(uncopied(&raised[1..], &["I1 lost".to_owned()]).len(), 1, "an exception for nothing");
}

#[test]
fn no_program_that_anybody_runs_has_a_crash_point_or_a_bug() {
    let cargo: toml::Table = fs::read_to_string(root().join("Cargo.toml")).expect("the manifest is text").parse().expect("the manifest is TOML");
    let brings = |feature: &str| cargo["features"][feature].as_array().expect("a feature is a list").iter().filter_map(|on| on.as_str()).collect::<Vec<_>>();
    assert_eq!((brings("default"), brings("demo"), brings("mutants")), (vec![], vec!["dep:noida-db"], vec!["dep:fail"]));
    // `make test` builds without the feature; the rig's own build shows that this looks for the right thing.
    let program = fs::read(env!("CARGO_BIN_EXE_recado")).expect("the program is built beside its tests");
    for word in ["CRASH_POINT", "webhook_after_ack_before_200", "SEEDED_BUG", "lease_without_heartbeat"] {
        let found = program.windows(word.len()).any(|bytes| bytes == word.as_bytes());
        assert_eq!(found, cfg!(feature = "mutants"), "{word}");
    }
}

#[cfg(feature = "mutants")]
#[test]
fn a_process_that_is_armed_wrongly_does_not_start() {
    for (point, pass, bug, sentence) in [
        ("after_pol", "1", "no_read_back", "error: CRASH_POINT: no crash point is called after_pol\n"),
        ("after_poll", "first", "no_read_back", "error: CRASH_PASS: first is not the number of a pass: they are counted from 1\n"),
        ("after_poll", "0", "no_read_back", "error: CRASH_PASS: 0 is not the number of a pass: they are counted from 1\n"),
        ("after_poll", "1", "no_read_bak", "error: SEEDED_BUG: no bug is called no_read_bak\n"),
    ] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_recado"));
        command.args(["check", "--config", "config"]).env("CRASH_POINT", point).env("CRASH_PASS", pass).env("SEEDED_BUG", bug);
        let output = command.output().expect("the program starts");
        assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()), (Some(1), sentence.to_owned()));
    }
}

#[test]
fn no_file_names_a_machine() {
    let mut found = Vec::new();
    for path in OURS.iter().flat_map(|place| files(&root().join(place))) {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for (index, line) in text.lines().enumerate() {
            found.extend(MACHINE.iter().filter(|word| line.contains(**word)).map(|word| format!("{}:{}: `{word}`", path.display(), index + 1)));
        }
    }
    assert!(found.is_empty(), "{}", report(&found));
}

#[test]
fn the_doc_of_expose_names_the_folders_of_its_fence() {
    let text = fs::read_to_string(root().join("src/privacy/secret.rs")).expect("secrets have a file");
    let before = &text[..text.find("pub fn expose").expect("the one door of a secret")];
    let doc = before.rsplit("\n\n").next().expect("a split has a part");
    let named: Vec<&str> = doc.split('`').filter_map(|word| word.strip_suffix('/')).collect();
    assert_eq!(named, EXPOSING, "src/privacy/secret.rs and tests/tidy.rs disagree");
}

#[test]
fn each_fence_bites() {
    for fence in FENCES {
        for place in fence.inside {
            for word in fence.words {
                let planted = |file: &str, line: &str| faults(file, &format!("//! A planted file.\n\n{line}\n"));
                // Where `.` is fenced, any room will do that is not an exception.
                let file = match *place {
                    "." => "topics/planted.rs".to_owned(),
                    file if file.ends_with(".rs") => file.to_owned(),
                    folder => format!("{folder}/planted.rs"),
                };
                let bad = format!("    let planted = {word} planted;");
                assert!(planted(&file, &bad).iter().any(|fault| fault.contains(fence.reason) && fault.contains(":3:")), "{file}: {word} was not found");
                assert!(planted(&file, &format!("    // {bad}")).is_empty(), "{file}: {word} was found in a comment");
                for except in fence.except.iter().filter(|except| within(except, place)) {
                    let file = if except.ends_with(".rs") { (*except).to_owned() } else { format!("{except}/planted.rs") };
                    assert!(!planted(&file, &bad).iter().any(|fault| fault.contains(fence.reason)), "{file}: {word} is allowed there");
                }
            }
        }
    }
    assert_eq!(faults("dispatch/ledger.rs", "use std::collections::HashMap;").len(), 1);
    assert_eq!(faults("dispatch/ledger/planted.rs", "use std::collections::HashMap;").len(), 1);
    assert_eq!(faults("dispatch/planted.rs", "use std::collections::HashMap;"), Vec::<String>::new());
    assert_eq!(faults("dispatch/post.rs", "use reqwest::Client;"), Vec::<String>::new());
    assert_eq!(faults("dispatch/planted.rs", "use reqwest::Client;").len(), 1);
    assert_eq!(faults("delivery/planted.rs", "use crate::event::Anything;").len(), 1);
    assert_eq!(faults("delivery/planted.rs", "use crate::delivery::Route;"), Vec::<String>::new());
    assert_eq!(faults("delivery/planted.rs", "use super::super::event::Anything;").len(), 1);
    assert_eq!(faults("engine/planted.rs", "unsafe { call() }").len(), 1);
    assert_eq!(faults("engine/planted.rs", "// SAFETY: it is.\nunsafe { call() }"), Vec::<String>::new());
}

#[test]
fn a_fence_around_a_missing_or_empty_folder_is_a_fault() {
    let src = tempfile::tempdir().expect("a folder for a while");
    let missing = folder_faults(src.path());
    assert!(missing.iter().any(|fault| fault.starts_with("src/delivery: a fence")), "{}", report(&missing));
    fs::create_dir(src.path().join("delivery")).expect("a folder can be made");
    assert!(folder_faults(src.path()).iter().any(|fault| fault.starts_with("src/delivery: a fence")), "an empty folder guards nothing");
    fs::write(src.path().join("delivery/mod.rs"), "").expect("a file can be written");
    let empty = folder_faults(src.path());
    assert!(!empty.iter().any(|fault| fault.starts_with("src/delivery: a fence")), "{}", report(&empty));
    assert!(empty.iter().any(|fault| fault.starts_with("src/delivery/mod.rs: #![deny")), "{}", report(&empty));
    fs::create_dir(src.path().join("novelties")).expect("a folder can be made");
    assert!(folder_faults(src.path()).iter().any(|fault| fault.starts_with("src/novelties: a new folder")), "a new folder says what it is");
}

/// The rules of `promtool check metrics` that a name can break, and ours (style.md §3).
fn name_fault(name: &str, kind: &str) -> Option<&'static str> {
    let unit = name.strip_suffix("_total").unwrap_or(name);
    let words: Vec<&str> = unit.split('_').collect();
    match () {
        () if !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_') => Some("lower case, digits and _ alone"),
        () if (kind == "counter") != name.ends_with("_total") => Some("a counter, and nothing else, ends in _total"),
        () if ["_count", "_sum", "_bucket", "_info"].iter().any(|end| name.ends_with(end) && name != "recado_build_info") => {
            Some("this ending is Prometheus' own")
        }
        () if words
            .iter()
            .any(|word| ["ms", "millis", "milliseconds", "micros", "us", "minutes", "hours", "kb", "kib", "mb", "mib", "percent"].contains(word)) =>
        {
            Some("base units: seconds, bytes, ratio")
        }
        () if words.iter().any(|word| ["gauge", "counter", "histogram", "summary"].contains(word)) => Some("the type does not stand in the name"),
        () => None,
    }
}

/// Name and kind of each metric in a file of `observe/`: the kind is the nearest type word before the name.
fn metrics(text: &str) -> Vec<(String, &'static str)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("\"recado_") {
        let name: String = text[at + 1..].chars().take_while(|c| *c != '"').collect();
        let kinds = [("Counter", "counter"), ("Gauge", "gauge"), ("Histogram", "histogram")];
        let kind = kinds.iter().filter_map(|(word, kind)| Some((text[..at].rfind(word)?, *kind))).max().map_or("unknown", |(_, kind)| kind);
        found.push((name, kind));
    }
    found
}

#[test]
fn metrics_are_named_as_prometheus_wants_them() {
    let mut found = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for path in files(&root().join("src/observe")) {
        let text = fs::read_to_string(&path).expect("sources are text");
        let text = text.split("#[cfg(test)]").next().unwrap_or("");
        for (name, kind) in metrics(text) {
            found.extend(name_fault(&name, kind).map(|reason| format!("{}: {name} ({kind}): {reason}", path.display())));
            if !seen.insert(name.clone()) {
                found.push(format!("{}: {name}: it stands here twice", path.display()));
            }
        }
    }
    assert!(found.is_empty(), "{}", report(&found));
    assert!(!seen.is_empty(), "observe/ holds the metrics");
}

#[test]
fn a_badly_named_metric_is_found() {
    for (name, kind) in [
        ("recado_calls", "counter"),
        ("recado_calls_total", "gauge"),
        ("recado_lag_ms", "gauge"),
        ("recado_Lag_seconds", "gauge"),
        ("recado_lag_count", "gauge"),
        ("recado_lag_gauge_seconds", "gauge"),
    ] {
        assert!(name_fault(name, kind).is_some(), "{name}");
    }
    assert_eq!(name_fault("recado_commit_duration_seconds", "histogram"), None);
    let text = "static A: LazyLock<IntCounterVec> = counters(\"recado_a_total\");\nstatic B: LazyLock<Gauge> = gauge(\"recado_b_seconds\");";
    assert_eq!(metrics(text), [("recado_a_total".to_owned(), "counter"), ("recado_b_seconds".to_owned(), "gauge")]);
}

/// The functions of `observe/`'s rooms that nobody outside of it names: a metric that is declared and never counted tells an operator that all is well.
fn unmade(observations: &[(String, String)], outside: &str) -> Vec<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words: std::collections::BTreeSet<&str> = outside.split(|c| !word(c)).collect();
    let names = |text: &str| text.lines().filter_map(|line| line.strip_prefix("pub fn ")?.split(|c| !word(c)).next().map(str::to_owned)).collect::<Vec<_>>();
    let named = observations.iter().flat_map(|(file, text)| names(text).into_iter().map(move |name| (file, name)));
    named.filter(|(_, name)| !words.contains(name.as_str())).map(|(file, name)| format!("{file}: nobody calls {name}")).collect()
}

#[test]
fn every_observation_is_made_by_somebody() {
    let src = root().join("src");
    let (inside, outside): (Vec<_>, Vec<_>) = files(&src).into_iter().partition(|path| path.starts_with(src.join("observe")));
    let read = |path: &PathBuf| fs::read_to_string(path).expect("sources are text");
    let observations: Vec<_> = inside.iter().map(|path| (path.display().to_string(), read(path))).collect();
    let outside: String = outside.iter().map(read).collect();
    let found = unmade(&observations, &outside);
    assert!(found.is_empty(), "{}", report(&found));
    assert_eq!(unmade(&[("a.rs".into(), "pub fn held(count: usize) {}\npub fn lost() {}".into())], "metrics::held(3);").len(), 1);
}
