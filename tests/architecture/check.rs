//! Holds sources against the table; every violation is a line `src/file:line: what is wrong`.

use std::{fs, path::Path};

use super::{
    paths::{NamedPath, named_paths},
    rules::{Arrows, FENCES, Fence, MAX_LINES, ROOMS, WITHOUT_INTRODUCTION},
};

/// A source file.
pub(super) struct Source {
    /// Its place below `src`, with slashes.
    pub(super) path: String,
    pub(super) text: String,
}

impl Source {
    /// All Rust files below a folder.
    pub(super) fn read_tree(root: &Path) -> Vec<Self> {
        let mut sources = Vec::new();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let below = path.strip_prefix(root).unwrap().to_str().unwrap();
                    sources.push(Self {
                        path: below.replace('\\', "/"),
                        text: fs::read_to_string(&path).unwrap(),
                    });
                }
            }
        }
        sources.sort_by(|a, b| a.path.cmp(&b.path));
        sources
    }

    /// Where the file stands in the tree of modules.
    fn module(&self) -> Vec<&str> {
        let stem = self.path.strip_suffix(".rs").unwrap_or(&self.path);
        let stem = stem.strip_suffix("/mod").unwrap_or(stem);
        if stem == "lib" {
            return Vec::new();
        }
        stem.split('/').collect()
    }

    /// The folder, or the file, directly below `src`.
    pub(super) fn room(&self) -> &str {
        self.module().first().copied().unwrap_or("lib")
    }

    fn at(&self, line: usize, what: &str) -> String {
        format!("src/{}:{line}: {what}", self.path)
    }
}

/// Everything that the sources break, in the order of the sources.
pub(super) fn check(sources: &[Source]) -> Vec<String> {
    sources.iter().flat_map(check_file).collect()
}

fn check_file(source: &Source) -> Vec<String> {
    let room = source.room();
    let Some((_, arrows)) = ROOMS.iter().find(|(name, _)| *name == room) else {
        let what = format!("`{room}` is no room of the house");
        return vec![source.at(1, &what)];
    };
    let mut violations = Vec::new();
    for path in named_paths(&source.text, &source.module()) {
        let broken = if is_ours(&path) {
            forbidden_arrow(room, arrows, &path)
        } else {
            forbidden_crate(room, &path)
        };
        violations.extend(broken.map(|(line, what)| source.at(line, &what)));
    }
    violations.extend(introduction(source));
    let lines = source.text.lines().count();
    if lines > MAX_LINES {
        let what = format!("{lines} lines, over the limit of {MAX_LINES}");
        violations.push(source.at(lines, &what));
    }
    violations.dedup();
    violations
}

/// `parley::` is how the binary names us.
fn is_ours(path: &NamedPath<'_>) -> bool {
    path.ours
        || path
            .segments
            .first()
            .is_some_and(|first| first.text == "parley")
}

fn forbidden_arrow(room: &str, arrows: &Arrows, path: &NamedPath<'_>) -> Option<(usize, String)> {
    let Arrows::To(allowed) = arrows else {
        return None;
    };
    let target = path.segments.iter().find(|name| name.text != "parley");
    let Some(target) = target.filter(|name| name.text != "*") else {
        let what = format!("`{room}` may not import the whole crate");
        return Some((path.line, what));
    };
    let may = target.text == room || allowed.contains(&target.text);
    let what = || format!("`{room}` may not import `{}`", target.text);
    (!may).then(|| (target.line, what()))
}

fn forbidden_crate(room: &str, path: &NamedPath<'_>) -> Option<(usize, String)> {
    let names: Vec<&str> = path.segments.iter().map(|name| name.text).collect();
    if let Some(at) = names
        .windows(2)
        .position(|two| matches!(two, ["tokio" | "task", "spawn"]))
    {
        let what = "`tokio::spawn`: every task belongs to a tracker".to_owned();
        return Some((path.segments[at + 1].line, what));
    }
    let first = path.segments.first()?;
    let (_, fence) = FENCES.iter().find(|(name, _)| *name == first.text)?;
    let may = match fence {
        Fence::Only(rooms) => rooms.contains(&room),
        Fence::NotIn(rooms) => !rooms.contains(&room),
    };
    let what = || format!("`{room}` may not use the crate `{}`", first.text);
    (!may).then(|| (first.line, what()))
}

/// A room is a folder whose `mod.rs` says what it is for, what always holds in it, and which arrows leave it.
fn introduction(source: &Source) -> Option<String> {
    let room = source.room();
    let door = source.path == format!("{room}/mod.rs");
    if WITHOUT_INTRODUCTION.contains(&room) || !door {
        let beside = source.path == format!("{room}.rs") && !WITHOUT_INTRODUCTION.contains(&room);
        return beside.then(|| source.at(1, "a room is a folder with a mod.rs"));
    }
    let opening: Vec<&str> = source
        .text
        .lines()
        .take_while(|line| line.starts_with("//!"))
        .collect();
    let says = |what: &str| {
        opening
            .iter()
            .any(|line| line.starts_with(&format!("//! {what}")))
    };
    let purpose = opening
        .first()
        .is_some_and(|line| line.len() > "//! ".len());
    let complete = purpose && says("**Invariant:**") && says("**May import:**");
    let what = "a room's mod.rs opens with `//!`: its purpose, **Invariant:**, **May import:**";
    (!complete).then(|| source.at(1, what))
}
