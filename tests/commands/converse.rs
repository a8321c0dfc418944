//! The talk in the terminal.

use super::{program, sqlite, text};

/// In memory, and on a file, as a user calls it.
#[test]
fn a_talk_goes_by_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    for database in [
        "sqlite::memory:".to_owned(),
        sqlite(&folder.path().join("a.sqlite")),
    ] {
        let mut command = program(folder.path(), &database);
        command.args(["task", "converse", "topic:Tea or coffee?", "turns:2"]);
        let output = command.output().unwrap();
        let said = text(&output.stdout);
        assert!(output.status.success(), "{said}{}", text(&output.stderr));
        assert!(
            said.contains("Tea or coffee?") && said.contains("run.completed: max_turns"),
            "{said}"
        );
    }
}
