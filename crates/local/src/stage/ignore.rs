//! `.funcignore`: which files of a staged folder are no part of the app. The syntax is that of
//! `.gitignore`, without character classes and escapes, which are refused rather than misread.

/// What Core Tools leave out whatever `.funcignore` says (their `FileSystemHelpers.cs`).
const ALWAYS: &str = ".git/\n.vscode/\n.funcignore\n.gitignore\nlocal.settings.json\nproject.lock.json\n";

/// The rules of a file, the last one that matches decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules(Vec<Rule>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    /// Between slashes; `**` stands for any number of folders.
    parts: Vec<String>,
    takes_back: bool,
    only_folders: bool,
}

impl Rules {
    /// Reads the text of a `.funcignore`; an empty one leaves out what Core Tools always leave out.
    ///
    /// # Errors
    /// The line that is not understood.
    pub fn parse(text: &str) -> Result<Rules, String> {
        let lines = ALWAYS.lines().chain(text.lines()).map(str::trim);
        lines
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(Rule::parse)
            .collect::<Result<_, _>>()
            .map(Rules)
    }

    /// Whether a file, named from the folder's root with slashes, is left out: by itself or with a
    /// folder that it lies in.
    pub fn leave_out(&self, file: &str) -> bool {
        let parts: Vec<&str> = file.split('/').collect();
        (1..=parts.len()).any(|depth| self.matches(&parts[..depth], depth < parts.len()))
    }

    fn matches(&self, path: &[&str], is_folder: bool) -> bool {
        let last =
            self.0.iter().rev().find(|rule| (is_folder || !rule.only_folders) && walk(&rule.parts, path));
        last.is_some_and(|rule| !rule.takes_back)
    }
}

impl Rule {
    fn parse(line: &str) -> Result<Rule, String> {
        if line.contains(['[', '\\']) {
            return Err(format!("`{line}`: character classes and escapes are not understood; use * and ?"));
        }
        let (takes_back, pattern) = line.strip_prefix('!').map_or((false, line), |rest| (true, rest));
        let (pattern, only_folders) = pattern.strip_suffix('/').map_or((pattern, false), |rest| (rest, true));
        // A slash before the end ties a pattern to the root; without one it means any depth.
        let is_tied = pattern.contains('/');
        let parts = pattern.trim_start_matches('/').split('/').map(str::to_owned);
        let any_depth = (!is_tied).then(|| "**".to_owned());
        Ok(Rule { parts: any_depth.into_iter().chain(parts).collect(), takes_back, only_folders })
    }
}

fn walk(pattern: &[String], path: &[&str]) -> bool {
    match (pattern, path) {
        ([], []) => true,
        ([any, rest @ ..], _) if any == "**" => {
            // At the end it means everything inside, and not the folder itself.
            if rest.is_empty() { !path.is_empty() } else { (0..=path.len()).any(|n| walk(rest, &path[n..])) }
        }
        ([first, pattern @ ..], [name, path @ ..]) => {
            glob(first.as_bytes(), name.as_bytes()) && walk(pattern, path)
        }
        _ => false,
    }
}

/// `*` stands for any text, `?` for one byte.
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        ([b'*', pattern @ ..], _) => (0..=name.len()).any(|n| glob(pattern, &name[n..])),
        ([b'?', pattern @ ..], [_, name @ ..]) => glob(pattern, name),
        ([a, pattern @ ..], [b, name @ ..]) => a == b && glob(pattern, name),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_to_git() {
        let cases: [(&str, &[&str], &[&str]); 9] = [
            (
                "",
                &["local.settings.json", ".git/config", ".funcignore"],
                &["host.json", "Sweep/function.json"],
            ),
            ("# a comment\n\nnotes.md", &["notes.md", "Sweep/notes.md"], &["notes.md5"]),
            ("/notes.md", &["notes.md"], &["Sweep/notes.md"]),
            ("keys/", &["keys/a", "x/keys/a"], &["keys"]),
            ("*.md", &["a.md", "Sweep/a.md"], &["a.mdx"]),
            ("Sweep/*.txt", &["Sweep/a.txt"], &["Sweep/x/a.txt", "a.txt"]),
            ("a/**/z", &["a/z", "a/b/z", "a/b/c/z"], &["z", "b/a/z"]),
            ("a/**", &["a/b", "a/b/c"], &["b/a/c"]),
            ("*.md\n!keep.md\n", &["a.md"], &["keep.md", "x/keep.md"]),
        ];
        for (text, out, kept) in cases {
            let rules = Rules::parse(text).unwrap();
            out.iter().for_each(|file| assert!(rules.leave_out(file), "{text:?} keeps {file}"));
            kept.iter().for_each(|file| assert!(!rules.leave_out(file), "{text:?} leaves out {file}"));
        }
    }

    #[test]
    fn what_lies_in_a_folder_that_is_left_out_cannot_be_taken_back() {
        assert!(Rules::parse("keys/\n!keys/public").unwrap().leave_out("keys/public"));
        assert!(!Rules::parse("keys/*\n!keys/public").unwrap().leave_out("keys/public"));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        assert!(Rules::parse("[ab].md").unwrap_err().contains("`[ab].md`"));
        assert!(Rules::parse("a\\ b").is_err());
    }
}
