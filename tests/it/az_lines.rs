//! Every `az` line that a document, a script or one of our messages shows is one that the Azure CLI takes:
//! `judges/az/commands.txt`, written from the CLI itself by `judges/az/table.py`, knows commands and options.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const TABLE: &str = include_str!("../../judges/az/commands.txt");
/// Options of every command (`azure.cli.core`, and argparse's help).
const COMMON: [&str; 9] = [
    "--debug",
    "--help",
    "--only-show-errors",
    "--output",
    "--query",
    "--subscription",
    "--verbose",
    "-h",
    "-o",
];
/// What no line of ours may ask for: a Batch account that takes identities alone answers it with 403.
const BANNED: [&str; 1] = ["--shared-key-auth"];

/// An option: its other spellings lead to the same one.
#[derive(Debug)]
struct Known<'a> {
    name: &'a str,
    is_required: bool,
    /// Empty: anything.
    values: Vec<&'a str>,
}

/// The options of a command by each of their spellings.
type Options<'a> = BTreeMap<&'a str, std::rc::Rc<Known<'a>>>;
type Table<'a> = BTreeMap<Vec<&'a str>, Options<'a>>;

fn table() -> Table<'static> {
    let commands = TABLE.lines().filter(|line| !line.starts_with('#'));
    commands
        .map(|line| {
            let (command, options) = line.split_once(':').expect("a command ends with a colon");
            let options = options.split_whitespace().flat_map(|option| {
                let (names, values) = option.split_once('=').unwrap_or((option, ""));
                let (names, is_required) =
                    names.strip_suffix('*').map_or((names, false), |names| (names, true));
                let values = values.split('|').filter(|value| !value.is_empty()).collect();
                let name = names.split(',').next().expect("split gives at least one part");
                let known = std::rc::Rc::new(Known { name, is_required, values });
                names.split(',').map(move |spelling| (spelling, known.clone()))
            });
            (command.split(' ').collect(), options.collect())
        })
        .collect()
}

/// What is wrong with a command line's words, `az` first. A `mention` may name a group, or a command alone.
fn problem(table: &Table<'_>, words: &[String], is_mention: bool) -> Option<String> {
    let words: Vec<&str> = words.iter().skip(1).map(String::as_str).filter(|word| *word != "…").collect();
    let plain: Vec<&str> = words.iter().take_while(|word| !word.starts_with('-')).copied().collect();
    let Some(options) = table.get(&plain) else {
        let is_group = table.keys().any(|command| command.starts_with(&plain));
        let is_named_alone = is_mention && plain.len() == words.len();
        return (!(is_group && is_named_alone)).then(|| format!("no command `az {}`", plain.join(" ")));
    };
    let mut given = BTreeSet::new();
    let mut rest = words[plain.len()..].iter().peekable();
    while let Some(word) = rest.next() {
        let Some((name, value)) = word.starts_with('-').then(|| word.split_once('=').unwrap_or((word, "")))
        else {
            continue;
        };
        if BANNED.contains(&name) {
            return Some(format!("{name} is not used here"));
        }
        let Some(known) = options.get(name) else {
            if COMMON.contains(&name) {
                continue;
            }
            return Some(format!("`az {}` has no {name}", plain.join(" ")));
        };
        if !given.insert(known.name) {
            return Some(format!("{name} is given twice"));
        }
        let value = if value.is_empty() { rest.peek().map_or("", |word| **word) } else { value };
        let is_known = known.values.iter().any(|known| known.eq_ignore_ascii_case(value));
        if !known.values.is_empty() && !is_known && !is_placeholder(value) {
            return Some(format!("{name} takes {}, not `{value}`", known.values.join(", ")));
        }
    }
    let missing = options.values().find(|known| known.is_required && !given.contains(known.name));
    let is_named_alone = is_mention && plain.len() == words.len();
    missing.filter(|_| !is_named_alone).map(|known| format!("`az {}` wants {}", plain.join(" "), known.name))
}

/// What the reader, the shell or the program fills in.
fn is_placeholder(word: &str) -> bool {
    let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    word.contains(['$', '{', '…']) || (!word.is_empty() && word.chars().all(is_name))
}

/// The words of the command that begins a text, as a shell splits them; it ends where the shell's does.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quote, mut depth) = (String::new(), None, 0_usize);
    for c in text.chars() {
        match (quote, c) {
            // Inside `$(…)`: another command, which is looked at by itself.
            (_, '(') if depth > 0 || word.ends_with('$') => depth += 1,
            (_, ')') if depth > 0 => depth -= 1,
            _ if depth > 0 => {}
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            (None, '#') if word.is_empty() => break,
            (None, '|' | ';' | '&' | '>' | ')' | '\n') => break,
            (None, _) if c.is_whitespace() => {
                words.extend((!word.is_empty()).then(|| std::mem::take(&mut word)))
            }
            _ => word.push(c),
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

/// A command as it stands somewhere, and whether it is only mentioned there.
type Found = (String, bool);

/// Commands of a script: where a shell would look for one.
fn in_script(text: &str) -> Vec<Found> {
    let joined = text.replace("\\\n", " ");
    let is_command = |line: &str, at: usize| {
        let before = line[..at].trim_end();
        before.is_empty()
            || ["$(", "|", "&&", ";", "do", "then", "!", "{"].iter().any(|end| before.ends_with(end))
    };
    let starts = |line: &str| line.match_indices("az ").map(|(at, _)| at).collect::<Vec<_>>();
    joined
        .lines()
        .flat_map(|line| {
            starts(line)
                .into_iter()
                .filter(|at| is_command(line, *at))
                .map(|at| (line[at..].to_owned(), false))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Commands between backticks.
fn in_spans(text: &str) -> Vec<Found> {
    let spans = text.split('`').skip(1).step_by(2);
    spans.filter(|span| span.starts_with("az ")).map(|span| (span.replace('\n', " "), true)).collect()
}

/// Code blocks of a document are scripts, the rest holds spans.
fn in_document(text: &str) -> Vec<Found> {
    let parts = text.split("\n```").enumerate();
    parts.flat_map(|(n, part)| if n % 2 == 1 { in_script(part) } else { in_spans(part) }).collect()
}

/// Commands in the messages of a program, between backticks or not, and in its documentation.
fn in_source(text: &str, groups: &BTreeSet<&str>) -> Vec<Found> {
    let text = text.split("#[cfg(test)]").next().expect("split gives at least one part");
    let mut joined = String::new();
    for line in text.lines().map(str::trim_start) {
        // A comment or a text that goes on in the next line is one line.
        let line = line.trim_start_matches(['/', '!']);
        match line.strip_suffix('\\') {
            Some(more) => joined.push_str(more),
            None => joined.extend([line, " "]),
        }
    }
    let joined = joined.replace("\\\"", "\u{1}");
    let mut found = Vec::new();
    for (at, _) in joined.match_indices("az ") {
        let starts_word = joined[..at].ends_with([' ', '"', '`', '(']);
        let group = joined[at + 3..].split([' ', '`', '"']).next().unwrap_or_default();
        if starts_word && groups.contains(group) {
            let end = ["`", "\"", ", ", "; "].iter().filter_map(|end| joined[at..].find(end)).min();
            let command = &joined[at..at + end.unwrap_or(joined.len() - at)];
            found.push((command.replace('\u{1}', "\""), true));
        }
    }
    found
}

fn files_under(folder: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut found, mut open) = (Vec::new(), vec![root.join(folder)]);
    while let Some(path) = open.pop() {
        let is_ours = !path.ends_with(".work") && !path.ends_with("testdata") && !path.ends_with("target");
        match std::fs::read_dir(&path) {
            Ok(entries) if is_ours => open.extend(entries.map(|entry| entry.expect("it can be read").path())),
            Ok(_) => {}
            Err(_) => found.push(path),
        }
    }
    found.sort();
    found
}

fn in_file(path: &Path, text: &str, groups: &BTreeSet<&str>) -> Vec<Found> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let is_test = name.ends_with("tests.rs") || path.components().any(|part| part.as_os_str() == "tests");
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("md") => in_document(text),
        Some("rs") if !is_test => in_source(text, groups),
        Some("py") => in_spans(text),
        Some("sh") => in_script(text),
        None if text.starts_with("#!") => in_script(text),
        _ => Vec::new(),
    }
}

#[test]
fn every_line_is_one_that_the_azure_cli_takes() {
    let table = table();
    let groups = table.keys().map(|command| command[0]).collect();
    let (mut seen, mut wrong) = (0, Vec::new());
    for path in
        ["README.md", "docs", "judges", ".ci", "src", "crates"].iter().flat_map(|place| files_under(place))
    {
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        for (command, is_mention) in in_file(&path, &text, &groups) {
            seen += 1;
            let problem = problem(&table, &words(&command), is_mention);
            wrong.extend(problem.map(|why| format!("{}: {why}: {}", path.display(), command.trim())));
        }
    }
    assert!(seen > 40, "only {seen} lines were found; the search is broken");
    assert!(wrong.is_empty(), "judges/az/table.py writes the table anew:\n  {}", wrong.join("\n  "));
}

#[test]
fn wrong_lines_are_named() {
    let table = table();
    let cases = [
        ("az keyvault secret set --vault-name V --name a --value 1", None),
        ("az keyvault secret set --vault-name V -n a --value 1 -o none # a comment | az x", None),
        ("az keyvault secret set --vault-name V --value 1", Some("wants --name")),
        ("az keyvault secret set --vault-name V --name a --nam b", Some("has no --nam")),
        ("az keyvault secret set --vault-name V --name a -n b", Some("given twice")),
        ("az storage message put --queue-name Q --content \"$(az x --y)\" --auth-mode login", None),
        ("az storage message put --queue-name Q --content c --auth-mode=entra", Some("takes key, login")),
        ("az storage message put --queue-name Q --content c --auth-mode MODE", None),
        ("az monitor log-analytics query --workspace W", Some("no command `az monitor log-analytics query`")),
        ("az batch account login --name A --resource-group G --shared-key-auth", Some("not used here")),
        ("az batch pool", Some("no command")),
        (
            "az containerapp update --name A --resource-group G --force-restart",
            Some("has no --force-restart"),
        ),
    ];
    for (line, expected) in cases {
        match (problem(&table, &words(line), false), expected) {
            (None, None) => {}
            (Some(why), Some(part)) => assert!(why.contains(part), "{line}: {why}"),
            (found, _) => panic!("{line}: {found:?}"),
        }
    }
    for mention in ["az batch", "az keyvault secret set", "az batch pool show"] {
        assert_eq!(problem(&table, &words(mention), true), None, "{mention}");
    }
    assert!(problem(&table, &words("az batch pools"), true).is_some());
}

#[test]
fn commands_are_found_where_they_stand() {
    let document = "see `az batch` and\n```sh\nx=$(az a b) | az c \\\n  --d   # az no\n# az no\n```\n`az e`";
    let found = |found: Vec<Found>| found.iter().map(|(text, _)| words(text).join(" ")).collect::<Vec<_>>();
    assert_eq!(found(in_document(document)), ["az batch", "az a b", "az c --d", "az e"]);
    let source = "//! As `az batch pool\n//! show` says: az or azd.\nformat!(\"run az batch job list \\\n    --filter \\\"a b\\\", or {}\", 1)";
    let groups = BTreeSet::from(["batch"]);
    assert_eq!(found(in_source(source, &groups)), ["az batch pool show", "az batch job list --filter a b"]);
}
