//! What the name of a migration makes of it, as Loco reads it, and which fields it can have then.

use cruet::{to_plural, to_snake_case};

use super::{fields, fields::Into, house::House, names::pascal};

/// Makes sure that the fields have a place in the step of that name.
///
/// # Errors
/// What has none, and what to do instead.
pub(super) fn check(name: &str, given: &[&str], house: &House) -> Result<(), String> {
    let snake = to_snake_case(name);
    let words: Vec<&str> = snake.split('_').collect();
    match words.as_slice() {
        ["create", table] => {
            house.has_no_table(&to_plural(table))?;
            fields::check(given, Into::NewTable)
        }
        ["create", "join", "table", tables @ ..] if joins(tables) => {
            if let Some(unique) = given.iter().find(|field| field.contains('^')) {
                return Err(format!(
                    "{unique}: a row of a table that joins two others is one pair of them, and no more is unique: take the ^ off, or say \
                     `generate model` and give it both references"
                ));
            }
            fields::check(given, Into::NewTable)
        }
        ["add", _, .., "to", _] => {
            some(given, "add")?;
            fields::check(given, Into::OldTable)
        }
        ["remove", _, .., "from", table] => {
            some(given, "remove")?;
            if let Some(indexed) = given.iter().find(|field| indexed(field)) {
                return Err(format!(
                    "{indexed}: it has an index, which has to go before it: generate a step without fields, such as TidyUp{}, and write both \
                     there",
                    pascal(table)
                ));
            }
            fields::check(given, Into::NewTable)
        }
        ["rename", names @ ..] if renames(names) => none(
            given,
            "a column keeps its type under another name: leave the fields out",
        ),
        _ => none(
            given,
            "the name says nothing of what becomes of them. Those that do: Create…, Add…To…, Remove…From… (one word for the table), \
             Rename…To…On…, CreateJoinTable…And…; for other tables, generate a step without fields and write it",
        ),
    }
}

fn joins(tables: &[&str]) -> bool {
    let and = tables.iter().position(|word| *word == "and");
    and.is_some_and(|and| and > 0 && and + 1 < tables.len())
}

fn renames(names: &[&str]) -> bool {
    let on = names.iter().rposition(|word| *word == "on");
    let to = names.iter().position(|word| *word == "to");
    on.zip(to)
        .is_some_and(|(on, to)| 0 < to && to + 1 < on && on + 1 < names.len())
}

fn indexed(field: &str) -> bool {
    let kind = field.split_once(':').map_or("", |(_, kind)| kind);
    kind.contains('^') || kind.starts_with("references")
}

fn some(given: &[&str], to: &str) -> Result<(), String> {
    if given.is_empty() {
        return Err(format!("say what to {to}, such as colour:string!"));
    }
    Ok(())
}

fn none(given: &[&str], instead: &str) -> Result<(), String> {
    given
        .first()
        .map_or(Ok(()), |field| Err(format!("{field}: {instead}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(line: &str) -> Result<(), String> {
        let (name, fields) = line.split_once(' ').unwrap_or((line, ""));
        let fields: Vec<&str> = fields.split_whitespace().collect();
        check(name, &fields, &House::here())
    }

    #[test]
    fn what_the_step_cannot_do_is_refused() {
        for (line, word) in [
            ("CreateEvents a:int", "events"),
            ("CreateBlogPosts a:int", "a:int"),
            ("CreateJoinTableLabelsAndNotes a:string^", "both references"),
            ("CreateJoinTableLabels a:int", "a:int"),
            ("AddTextToLabels text:string^", "unique"),
            ("AddTextToLabels", "say what to add"),
            ("AddTextToBlogPosts text:string", "one word"),
            ("RemoveCodeFromLabels code:string^", "TidyUpLabels"),
            ("RemoveNoteFromLabels note:references?", "index"),
            ("RemoveNoteFromLabels", "say what to remove"),
            ("RenameColourToHueOnLabels colour:string", "keeps its type"),
            ("RenameColourToHue colour:string", "Rename…To…On…"),
            ("TidyUp a:int", "without fields"),
        ] {
            let told = told(line).unwrap_err();
            assert!(told.contains(word), "{line}: {told}");
        }
    }

    #[test]
    fn what_it_can_do_passes() {
        for line in [
            "CreateQuaggas code:string^ at_noon:bool",
            "CreateJoinTableLabelsAndNotes count:int",
            "create_join_table_blog_posts_and_notes",
            "AddColourToLabels colour:string! weight:double",
            "AddNoteRefToLabels note:references",
            "RemoveWeightFromLabels weight:double",
            "RenameFirstNameToGivenNameOnBlogPosts",
            "TidyUp",
            "CreateQuaggaHerds",
        ] {
            assert_eq!(told(line), Ok(()), "{line}");
        }
    }
}
