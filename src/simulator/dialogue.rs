//! What the simulator says by itself: a pure function of the request, so that the same conversation always gives the same words.

/// The lines, by when they fit. Format: see the head of the file.
const DIALOGUE: &str = include_str!("../../assets/simulator/dialogue.txt");

/// How much of a topic is repeated, in words.
const TOPIC_WORDS: usize = 8;

/// From how many messages on somebody may think of an end.
const CLOSING: usize = 6;

/// What is said to a conversation whose messages are these, oldest first, in the name of `model`.
pub(super) fn reply(model: &str, messages: &[String]) -> String {
    let first = messages.first().map_or("", String::as_str);
    let opening = messages.len() <= 1 && !first.contains("\n\n");
    let fits = |section: &str| match section {
        "open" => opening,
        "close" => messages.len() >= CLOSING,
        _ => !opening,
    };
    let lines: Vec<&str> = lines(fits).collect();
    let topic = quoted(first);
    let start = hash(&[model, messages.last().map_or("", String::as_str)]);
    let spoken = |line: &str| messages.iter().any(|message| message.contains(mark(line)));
    let fresh = (0..lines.len())
        .map(|step| lines[(start + step) % lines.len()])
        .find(|line| !spoken(line));
    let line = fresh.unwrap_or_else(|| lines[start % lines.len()]);
    line.replace("{topic}", &topic)
}

/// The text in the pieces in which it is sent: one word or two, each with the blank after it.
pub(super) fn deltas(text: &str) -> Vec<String> {
    let words: Vec<&str> = text.split_inclusive(' ').collect();
    let mut pieces = Vec::new();
    let mut rest = words.as_slice();
    while let Some(word) = rest.first() {
        let take = if word.len() < 5 { 2.min(rest.len()) } else { 1 };
        pieces.push(rest[..take].concat());
        rest = &rest[take..];
    }
    pieces
}

/// A number made of these texts (FNV-1a): the same in every build, unlike the standard library's.
pub(super) fn hash(texts: &[&str]) -> usize {
    let bytes = texts.iter().flat_map(|text| text.bytes().chain([0xff]));
    let sum = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    usize::try_from(sum >> 16).unwrap_or_default()
}

fn lines(fits: impl Fn(&str) -> bool) -> impl Iterator<Item = &'static str> {
    let mut section = "";
    DIALOGUE.lines().map(str::trim).filter(move |line| {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            section = name;
            return false;
        }
        !line.is_empty() && !line.starts_with('#') && fits(section)
    })
}

/// The part of a line that shows that it was said: the longest between topics.
fn mark(line: &str) -> &str {
    line.split("{topic}")
        .max_by_key(|part| part.len())
        .map_or(line, str::trim)
}

/// The topic as it is spoken of: its first line, shortened, in quotes.
fn quoted(first: &str) -> String {
    let line = first
        .lines()
        .next()
        .unwrap_or_default()
        .trim()
        .trim_end_matches(['.', '?', '!', '…']);
    let words: Vec<&str> = line.split_whitespace().collect();
    let short: String = words
        .iter()
        .take(TOPIC_WORDS)
        .copied()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .take(80)
        .collect();
    match (short.is_empty(), words.len() > TOPIC_WORDS) {
        (true, _) => "this".to_owned(),
        (false, false) => format!("“{short}”"),
        (false, true) => format!("“{short} …”"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A talk between two models, as each of them is shown it.
    fn talk(topic: &str, turns: usize) -> Vec<String> {
        let mut said: Vec<String> = Vec::new();
        for turn in 0..turns {
            let (own, mut shown) = (turn % 2, vec![topic.to_owned()]);
            for (speaker, text) in said.iter().enumerate().map(|(at, text)| (at % 2, text)) {
                if speaker != own && shown.len() == 1 && own == 1 {
                    shown[0] = format!("{topic}\n\n{text}");
                } else {
                    shown.push(text.clone());
                }
            }
            said.push(reply(["model-a", "model-b"][own], &shown));
        }
        said
    }

    #[test]
    fn turns_are_of_bearable_length_refer_to_the_topic_and_are_not_repeated() {
        for topic in [
            "Tea or coffee?",
            "x",
            "Why is the sky blue, and since when have people asked themselves that question",
        ] {
            let said = talk(topic, 16);
            for text in &said {
                let words = text.split_whitespace().count();
                assert!((20..=60).contains(&words), "{words}: {text}");
            }
            assert!(
                said[0].contains('“'),
                "the first speaker names the topic: {}",
                said[0]
            );
            let unlike: std::collections::HashSet<&String> = said.iter().collect();
            assert_eq!(unlike.len(), said.len(), "{said:#?}");
        }
    }

    #[test]
    fn the_same_conversation_gives_the_same_words() {
        assert_eq!(talk("Tea", 6), talk("Tea", 6));
        assert_ne!(talk("Tea", 6)[1..], talk("Chess", 6)[1..]);
    }

    #[test]
    fn deltas_joined_are_the_text() {
        for text in talk("Tea", 8) {
            let pieces = deltas(&text);
            assert_eq!(pieces.concat(), text);
            assert!(pieces.len() >= 12 && pieces.iter().all(|piece| !piece.is_empty()));
        }
        assert!(deltas("").is_empty());
    }
}
