//! House rules that a compiler does not check: sizes, module docs, purity, and what no tracked file may hold.
//!
//! Rust is read line by line, on purpose: a rule that needs a parser to explain would not be a house rule.

use std::path::{Path, PathBuf};
use std::process::Command;

use lockgate_tests::folders;

/// Lines of one file.
const MAX_FILE_LINES: usize = 600;
/// Lines of one function, its signature and its last brace included.
const MAX_FUNCTION_LINES: usize = 70;
/// What pure code must not name.
const IMPURE: &[&str] = &[
    "tokio",
    "std::net",
    "Instant::now",
    "SystemTime::now",
    "std::thread",
    "rand::",
];

/// Every file git knows, relative to the root.
fn tracked() -> Vec<PathBuf> {
    let root = folders::workspace();
    let listed = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(&root)
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let files: Vec<PathBuf> = listed
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(|name| root.join(name))
        .filter(|path| path.is_file())
        .collect();
    if !files.is_empty() {
        return files;
    }
    // An exported tree has no git: everything outside the build folder is looked at.
    let mut files = Vec::new();
    walk(&root, &mut files);
    files
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() {
            if name != "target" && name != ".git" {
                walk(&path, files);
            }
        } else {
            files.push(path);
        }
    }
}

/// Every Rust file with its text.
fn rust() -> Vec<(String, String)> {
    let root = folders::workspace();
    let files = tracked()
        .into_iter()
        .filter(|path| path.extension().is_some_and(|kind| kind == "rs"));
    let named = files.map(|path| {
        let name = path.strip_prefix(&root).unwrap().display().to_string();
        (name, std::fs::read_to_string(&path).unwrap())
    });
    let all: Vec<_> = named.collect();
    assert!(all.len() > 10, "only {} Rust files were found", all.len());
    all
}

fn none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

#[test]
fn files_are_short() {
    let long = rust().into_iter().filter_map(|(name, text)| {
        let lines = text.lines().count();
        (lines > MAX_FILE_LINES).then(|| format!("{name}: {lines} lines"))
    });
    none("files over 600 lines", &long.collect::<Vec<_>>());
}

#[test]
fn functions_are_short() {
    let long = rust().into_iter().flat_map(|(name, text)| {
        let functions = functions(&text)
            .into_iter()
            .filter(|function| function.lines > MAX_FUNCTION_LINES);
        functions
            .map(|at| format!("{name}:{}: fn {} has {} lines", at.line, at.name, at.lines))
            .collect::<Vec<_>>()
    });
    none("functions over 70 lines", &long.collect::<Vec<_>>());
}

#[test]
fn every_module_says_what_it_is() {
    let silent = rust()
        .into_iter()
        .filter(|(_, text)| !text.trim_start().starts_with("//!"));
    none(
        "files without a module doc",
        &silent.map(|(name, _)| name).collect::<Vec<_>>(),
    );
}

#[test]
fn pure_code_knows_no_sockets_and_no_clocks() {
    let mut found = Vec::new();
    for (name, text) in rust()
        .into_iter()
        .filter(|(name, text)| is_pure(name, text))
    {
        // What stands below the tests' attribute may be as impure as it likes.
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (index, line) in code
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
        {
            let named = IMPURE.iter().filter(|word| line.contains(**word));
            found.extend(named.map(|word| format!("{name}:{}: names {word}", index + 1)));
        }
    }
    none("pure code that is not", &found);
}

/// `proxy/wire`, and every file whose module doc says that it is pure; tests aside.
fn is_pure(name: &str, text: &str) -> bool {
    let doc: String = text
        .lines()
        .take_while(|line| line.starts_with("//!"))
        .collect();
    let is_test = name.ends_with("tests.rs") || name.contains("/tests/");
    !is_test && (name.starts_with("proxy/wire/src") || doc.contains("Pure"))
}

#[test]
fn nothing_names_a_registry_or_somebodys_home() {
    // Put together here, so that this file does not hold what it looks for.
    let forbidden = [
        ["crates", ".io"].concat(),
        ["maven", ".org"].concat(),
        ["maven", ".apache.org/maven2"].concat(),
        ["pypi", ".org"].concat(),
        ["npmjs", ".org"].concat(),
        ["/ro", "ot/"].concat(),
        ["/ho", "me/"].concat(),
        ["/Us", "ers/"].concat(),
    ];
    let mut found = Vec::new();
    for path in tracked()
        .into_iter()
        .filter(|path| path.file_name().is_some_and(|name| name != "Cargo.lock"))
    {
        let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
        for (index, line) in text.lines().enumerate() {
            let named = forbidden.iter().filter(|word| line.contains(word.as_str()));
            found.extend(
                named.map(|word| format!("{}:{}: holds {word}", path.display(), index + 1)),
            );
        }
    }
    none("tracked files that name a registry or a home", &found);
}

/// A function as the lines tell it.
struct Function {
    name: String,
    line: usize,
    lines: usize,
}

/// Functions by indentation: the format check guarantees that the closing brace stands below the `fn` line.
fn functions(text: &str) -> Vec<Function> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else {
            continue;
        };
        let indent = line.len() - line.trim_start().len();
        let end = lines[index..].iter().position(|line| {
            let closes = line.trim_end() == format!("{}}}", " ".repeat(indent));
            closes
                || (line.trim_end().ends_with(';')
                    && line.len() - line.trim_start().len() <= indent)
        });
        if let Some(end) = end {
            found.push(Function {
                name,
                line: index + 1,
                lines: end + 1,
            });
        }
    }
    found
}

fn function_name(line: &str) -> Option<String> {
    let code = line.trim_start();
    if code.starts_with("//") || line.trim_end().ends_with('}') {
        return None;
    }
    let (before, after) = code.split_once("fn ")?;
    let words = ["pub", "async", "const", "unsafe", "extern"];
    let is_head = before.split_whitespace().all(|word| {
        words.contains(&word)
            || word.starts_with("pub(")
            || word.starts_with('"')
            || word.ends_with(')')
    });
    let name: String = after
        .chars()
        .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
        .collect();
    (is_head && !name.is_empty()).then_some(name)
}

#[test]
fn functions_are_found_and_measured() {
    let text = "pub(crate) async fn one(\n    a: u8,\n) -> u8 {\n    a\n}\n\nimpl X {\n    fn two() {\n    }\n\n    fn three();\n}\nlet fn_ = 1;\n";
    let found: Vec<(String, usize)> = functions(text)
        .into_iter()
        .map(|at| (at.name, at.lines))
        .collect();
    assert_eq!(
        found,
        [
            ("one".to_owned(), 5),
            ("two".to_owned(), 2),
            ("three".to_owned(), 1)
        ]
    );
}
