//! Llama Guard's answers: whether a conversation is safe, and which of its categories it breaks.

use tasks::Prompt;

/// Words that make a conversation unsafe, each with its category (Llama Guard 3's, by the numbers of
/// MLCommons' taxonomy). A stub reads words only.
const UNSAFE: &[(&str, &[&str])] = &[
    ("S1", &["bomb", "kill", "murder", "terrorist", "violence"]),
    ("S2", &["fraud", "scam", "steal", "counterfeit", "hack"]),
    ("S3", &["rape", "trafficking"]),
    ("S5", &["defame", "slander"]),
    ("S9", &["anthrax", "nerve", "sarin", "uranium"]),
    ("S10", &["hate", "racist"]),
    ("S11", &["suicide", "suicidal"]),
    ("S12", &["porn", "pornographic"]),
];

/// The model's text: `safe`, or `unsafe` and a line of categories.
pub(super) fn judgement(prompt: &Prompt) -> String {
    let judged = match prompt {
        Prompt::Raw(text) => text.as_str(),
        Prompt::Messages(turns) => turns.last().map_or("", |turn| &turn.content),
    };
    let text = judged.to_lowercase();
    let words: Vec<&str> = text
        .split(|letter: char| !letter.is_alphanumeric())
        .collect();
    let broken: Vec<&str> = UNSAFE
        .iter()
        .filter(|(_, listed)| listed.iter().any(|word| words.contains(word)))
        .map(|(category, _)| *category)
        .collect();
    if broken.is_empty() {
        "safe".into()
    } else {
        format!("unsafe\n{}", broken.join(","))
    }
}
