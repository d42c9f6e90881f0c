//! Every name of the built-in catalogue against a table made from the Workers AI contract (make_facts.py).

use catalog::{Catalog, Flags, ModelCard, Rate};

const FACTS: &str = include_str!("facts.tsv");

/// Names of the contract's catalogue, November 2026.
const NAMES: usize = 114;

fn rate(rate: Option<Rate>) -> Option<String> {
    let numbers: Vec<(&str, Option<f64>)> = match rate? {
        Rate::Tokens {
            input,
            cached_input,
            output,
        } => vec![
            ("cached_input", cached_input),
            ("input", Some(input)),
            ("output", output),
        ],
        Rate::AudioMinute { minute, websocket } => {
            vec![("minute", Some(minute)), ("websocket_minute", websocket)]
        }
        Rate::ThousandCharacters(price) => vec![("thousand_characters", Some(price))],
        Rate::TileAndStep { tile, step } => vec![("step", Some(step)), ("tile", Some(tile))],
        Rate::Tiles { input, output } => {
            vec![("input_tile", Some(input)), ("output_tile", Some(output))]
        }
        Rate::TileSteps { input, output } => vec![
            ("input_tile_step", Some(input)),
            ("output_tile_step", Some(output)),
        ],
        Rate::Megapixels { first, next, input } => vec![
            ("first_megapixel", Some(first)),
            ("input_megapixel", Some(input)),
            ("next_megapixel", Some(next)),
        ],
        Rate::MillionImages(price) => vec![("million_images", Some(price))],
    };
    let words = numbers.into_iter();
    let words = words.filter_map(|(key, number)| Some(format!("{key}={}", number?)));
    Some(words.collect::<Vec<_>>().join(" "))
}

fn flags(flags: Flags) -> Option<String> {
    let Flags {
        lora,
        function_calling,
        json_mode,
        async_queue,
        reasoning,
        vision,
        beta,
        partner,
        realtime,
        require_workers_paid,
        private_access,
        licence_agreement,
    } = flags;
    let all = [
        (lora, "lora"),
        (function_calling, "function_calling"),
        (json_mode, "json_mode"),
        (async_queue, "async_queue"),
        (reasoning, "reasoning"),
        (vision, "vision"),
        (beta, "beta"),
        (partner, "partner"),
        (realtime, "realtime"),
        (require_workers_paid, "require_workers_paid"),
        (private_access, "private_access"),
        (licence_agreement, "licence_agreement"),
    ];
    let set: Vec<_> = all
        .iter()
        .filter(|(set, _)| *set)
        .map(|(_, word)| *word)
        .collect();
    (!set.is_empty()).then(|| set.join(" "))
}

fn effort(card: &ModelCard) -> Option<String> {
    let effort = card.reasoning_effort.as_ref()?;
    let mandatory = if effort.mandatory { " mandatory" } else { "" };
    let supported = effort.supported.join("|");
    Some(format!("{supported} {}{mandatory}", effort.default))
}

/// The column of that name, as the card has it; `None`: nothing is known.
fn cell(card: &ModelCard, column: &str) -> Option<String> {
    let number = |number: Option<u32>| number.map(|number| number.to_string());
    match column {
        "name" => Some(card.name.clone()),
        "id" => card.id.clone(),
        "source" => Some(card.source().to_string()),
        "author" => Some(card.author().to_owned()),
        "task" => Some(card.task.name().to_owned()),
        "task_id" => Some(card.task.id().to_owned()),
        "schema" => Some(card.schema_class.clone()),
        "output" => Some(card.output_class.clone()),
        "context_window" => number(card.context_window),
        "max_tokens" => number(card.default_max_tokens),
        "max_max_tokens" => number(card.max_max_tokens),
        "output_dimensions" => card.output_dimensions.map(|width| width.to_string()),
        "flags" => flags(card.flags),
        "reasoning_effort" => effort(card),
        "price" => rate(card.price),
        "neurons" => rate(card.neurons),
        "deprecated_on" => card.deprecated_on.clone(),
        "answered_by" => card.answered_by.clone(),
        column => panic!("a card has no {column}"),
    }
}

#[test]
fn every_name_has_the_facts_of_the_contract() {
    let catalog = Catalog::builtin().expect("models.toml is good");
    let mut lines = FACTS.lines();
    let columns: Vec<_> = lines.next().expect("a head").split('\t').collect();
    let mut wrong = Vec::new();
    let mut names = 0;
    for line in lines {
        let facts: Vec<_> = line.split('\t').collect();
        assert_eq!(facts.len(), columns.len(), "{line}");
        names += 1;
        let Some(card) = catalog.card(facts[0]) else {
            wrong.push(format!("{} is not listed", facts[0]));
            continue;
        };
        for (column, fact) in columns.iter().zip(facts) {
            let have = cell(card, column).unwrap_or_else(|| "-".to_owned());
            if have != fact {
                wrong.push(format!("{}: {column}: want {fact}, have {have}", card.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!((names, catalog.cards().count()), (NAMES, NAMES));
}
