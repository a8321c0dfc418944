//! What `cargo loco generate` does beside Loco's own generator.
//!
//! Loco renders a fixed number of templates for each kind, and each of them writes one file. A thing in this house has one in every
//! room that it touches, so our templates (`.loco-templates/`) write several files into one *bundle*, each under a line
//! `//=> its/path`, and [`unfold`] takes it apart. [`refuse`] says before anything is written what cannot be generated, and what to
//! do in its place.

mod fields;
mod house;
mod migrations;
mod names;
#[cfg(test)]
mod templates;

use std::{
    collections::HashSet,
    fs,
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use cruet::to_snake_case;

use self::house::House;

/// Where the templates put their bundles.
const BUNDLES: &str = "target/generated";

/// What stands before the path of each file in a bundle.
const FILE: &str = "//=> ";

/// What the command line asks for.
struct Order<'a> {
    kind: &'a str,
    /// The name, and what follows it.
    words: Vec<&'a str>,
    flags: Vec<&'a str>,
}

fn order(args: &[String]) -> Option<Order<'_>> {
    let mut args = args.iter().map(String::as_str);
    args.find(|word| matches!(*word, "generate" | "g"))?;
    let (flags, words): (Vec<_>, Vec<_>) = args.partition(|word| word.starts_with('-'));
    let (kind, words) = words.split_first()?;
    Some(Order {
        kind,
        words: words.to_vec(),
        flags,
    })
}

/// Whether something is to be generated.
pub(crate) fn asked(args: &[String]) -> bool {
    order(args).is_some()
}

/// Makes sure that what is asked for has a place in this house.
///
/// # Errors
/// What has none, and what to do instead.
pub(crate) fn refuse(args: &[String]) -> Result<(), String> {
    let Some(order) = order(args) else {
        return Ok(());
    };
    let instead = match order.kind {
        "mailer" => Some("Parley sends no mail"),
        "scheduler" => Some(
            "what has to happen by the clock is a task (`generate task`) that a timer of the system runs",
        ),
        "deployment" => Some("what deploys Parley is part of the repository: change it there"),
        _ => None,
    };
    if let Some(instead) = instead {
        return Err(format!("no {} is generated here: {instead}", order.kind));
    }
    if order.flags.contains(&"--no-auth") {
        return Err(
            "every route wants a login; those that do not are listed in src/middleware/auth.rs"
                .to_owned(),
        );
    }
    let Some((name, rest)) = order.words.split_first() else {
        // Loco says what is missing.
        return Ok(());
    };
    named(order.kind, name, rest, &House::here())
}

/// Makes sure that what is asked for has a name of its own, and fields or actions that fit.
fn named(kind: &str, name: &str, rest: &[&str], house: &House) -> Result<(), String> {
    match kind {
        "controller" => {
            names::identifier(name)?;
            house.is_free(kind, name)?;
            actions(rest)
        }
        "task" | "worker" | "data" => {
            names::identifier(name)?;
            house.is_free(kind, name)
        }
        "model" | "scaffold" => {
            names::noun(name)?;
            house.is_free(kind, name)?;
            if rest.is_empty() {
                return Err(format!("say what a {name} has, such as text:string!"));
            }
            fields::check(rest, fields::Into::NewTable)
        }
        "migration" => {
            names::identifier(name)?;
            migrations::check(name, rest, house)
        }
        _ => Ok(()),
    }
}

/// Makes sure that each action of a controller is another handler. `list` is there without being asked for.
fn actions(given: &[&str]) -> Result<(), String> {
    let mut seen = HashSet::from(["list".to_owned()]);
    for action in given {
        names::identifier(action)?;
        if !seen.insert(to_snake_case(action)) {
            return Err(format!(
                "{action}: is there already: every controller has list, and each action once"
            ));
        }
    }
    Ok(())
}

/// Forgets bundles that were not taken apart, because something failed before.
///
/// # Errors
/// When they cannot be removed.
pub(crate) fn clear() -> Result<(), String> {
    match fs::remove_dir_all(BUNDLES) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(format!("cannot remove {BUNDLES}: {error}"))
        }
        _ => Ok(()),
    }
}

/// Writes the files of the bundles, and formats the code. A file that is there already is left as it is.
///
/// # Errors
/// When a bundle cannot be read, or a file cannot be written.
pub(crate) fn unfold() -> Result<(), String> {
    let mut bundles: Vec<PathBuf> = match fs::read_dir(BUNDLES) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(format!("cannot read {BUNDLES}: {error}")),
        Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
    };
    bundles.sort();
    for bundle in bundles {
        let text = fs::read_to_string(&bundle)
            .map_err(|error| format!("cannot read {}: {error}", bundle.display()))?;
        for (path, text) in files(&text) {
            write(Path::new(path), text)
                .map_err(|error| format!("cannot write {path}: {error}"))?;
        }
    }
    clear()?;
    let formatted = Command::new("cargo")
        .arg("fmt")
        .stdout(Stdio::null())
        .status();
    match formatted {
        Ok(status) if status.success() => Ok(()),
        _ => Err("the code is generated, but `cargo fmt` failed".to_owned()),
    }
}

/// The files of a bundle, each with its path.
fn files(bundle: &str) -> impl Iterator<Item = (&str, &str)> {
    let parts = bundle.split(FILE).skip(1);
    parts.filter_map(|part| part.split_once('\n'))
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout();
    if path.exists() {
        return writeln!(out, "skipped (exists): {path:?}");
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, format!("{}\n", text.trim()))?;
    writeln!(out, "added: {path:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(line: &str) -> Result<(), String> {
        let args: Vec<String> = line.split(' ').map(str::to_owned).collect();
        refuse(&args)
    }

    #[test]
    fn what_has_no_place_here_is_refused_with_a_word_about_it() {
        for (line, word) in [
            ("generate mailer welcome", "no mail"),
            ("g scheduler", "task"),
            ("generate deployment docker", "part of the repository"),
            ("generate scaffold label --no-auth", "middleware/auth.rs"),
            ("generate controller 9lives", "9lives"),
            ("generate controller quagga a-b", "a-b"),
            ("-e test g task type", "type"),
            ("generate model people", "person"),
            ("generate model run", "run"),
            ("generate scaffold event text:string", "conversation/event"),
            ("generate controller provider", "providers"),
            ("generate controller quagga status list", "list"),
            ("generate controller quagga status Status", "Status"),
            ("generate data catalogue", "catalogue"),
            ("generate model quagga", "text:string!"),
            ("generate scaffold quagga text:decimal", "decimal"),
            ("generate migration AddTextToLabels text:string^", "unique"),
            ("generate migration TidyUp text:string", "without fields"),
        ] {
            let told = refused(line).unwrap_err();
            assert!(told.contains(word), "{line}: {told}");
        }
    }

    #[test]
    fn what_is_generated_and_what_is_none_of_ours_passes() {
        for line in [
            "start --worker",
            "generate",
            "generate override",
            "generate controller quagga status --auth",
            "g scaffold quagga text:string! run:references count:int",
            "generate migration AddColourToLabels colour:string!",
            "generate migration CreateQuaggas code:string^",
            "generate data quagga",
        ] {
            assert_eq!(refused(line), Ok(()), "{line}");
        }
    }

    #[test]
    fn a_bundle_is_taken_apart() {
        let bundle = "\n//=> src/a.rs\none\ntwo\n//=> tests/b.rs\n\nthree\n";
        let parts: Vec<_> = files(bundle)
            .map(|(path, text)| (path, text.trim()))
            .collect();
        assert_eq!(parts, [("src/a.rs", "one\ntwo"), ("tests/b.rs", "three")]);
    }
}
