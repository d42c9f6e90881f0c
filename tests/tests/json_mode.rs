//! JSON mode with real weights: every whole answer satisfies its schema, by a validator that shares nothing with what
//! made it; an answer that was cut says so.
#![allow(clippy::unwrap_used)] // helpers of tests panic as tests do

use std::sync::Arc;

use engine::{Engine, Lane, Loader, Need};
use models::device::Device;
use models::{Files, Fit};
use serde_json::{Map, Value, json};
use tasks::{
    Chat, ChatEvent, ChatOptions, ChatRequest, Failure, Finish, Format, Grade, Json, Message,
    Prompt, Sampling, Served,
};

const SCHEMAS: u64 = 300;
/// Answers in the engine at once.
const AT_ONCE: usize = 32;
/// Tokens of an answer at most.
const ANSWER_TOKENS: u32 = 64;
/// Answers that have to be whole, of a hundred: a small model wanders off now and then.
const WHOLE_PERCENT: usize = 60;

struct SmolLm2;

impl Loader for SmolLm2 {
    fn choose(&self, model: &str) -> Result<Served, Failure> {
        Ok(Served {
            weights: model.into(),
            grade: Grade::Exact,
        })
    }
    fn need(&self, _: &Served) -> Result<Need, Failure> {
        Ok(Need::default())
    }
    fn load(&self, served: &Served) -> Result<Lane, Failure> {
        let files = Files::new(testkit::weights(&served.weights));
        models::load("llama", &files, &Device::Cpu, Fit::default())
            .map_err(|error| Failure::Unavailable(error.to_string()))
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): the same schemas on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % sides
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len() as u64) as usize].clone()
    }
}

const NAMES: [&str; 10] = [
    "name", "age", "city", "tags", "price", "kind", "when", "id", "größe", "is ok",
];

/// A schema; the higher the level, the more of the language it uses.
fn schema(dice: &mut Dice, level: u64) -> Value {
    let mut schema = object(dice, level, 1 + dice_depth(level));
    if level >= 4 {
        schema["$defs"] = json!({
            "point": {"type": "object", "properties": {"x": {"type": "integer", "minimum": -9, "maximum": 9}},
                "required": ["x"], "additionalProperties": false},
            "chain": {"type": "object", "properties": {"value": {"enum": ["a", "b"]},
                "next": {"anyOf": [{"$ref": "#/$defs/chain"}, {"type": "null"}]}}, "required": ["value"]}
        });
    }
    schema
}

fn dice_depth(level: u64) -> u64 {
    level / 2
}

fn object(dice: &mut Dice, level: u64, depth: u64) -> Value {
    let mut properties = Map::new();
    for _ in 0..=dice.roll(2 + level / 2) {
        properties.insert(dice.one(&NAMES).to_owned(), value(dice, level, depth));
    }
    let names: Vec<_> = properties.keys().cloned().collect();
    let required: Vec<_> = names.into_iter().filter(|_| dice.roll(3) > 0).collect();
    let mut object = json!({"type": "object", "properties": properties, "required": required});
    if dice.roll(2) == 0 {
        object["additionalProperties"] = false.into();
    }
    object
}

fn value(dice: &mut Dice, level: u64, depth: u64) -> Value {
    let most = [4, 6, 9, 12, 14, 18][level as usize];
    match dice.roll(most) {
        0 => json!({"type": "boolean"}),
        1 => {
            let low = dice.roll(200) as i64 - 100;
            json!({"type": "integer", "minimum": low, "maximum": low + dice.roll(1000) as i64})
        }
        2 => json!({"type": "string", "minLength": dice.roll(3), "maxLength": 3 + dice.roll(8)}),
        3 => json!({"enum": ["red", "green", 7, null, "b\"l\\ue"], "description": "a thing"}),
        4 => {
            let formats = [
                "date",
                "time",
                "date-time",
                "email",
                "ipv4",
                "ipv6",
                "uuid",
                "hostname",
            ];
            json!({"type": "string", "format": dice.one(&formats)})
        }
        5 => json!({"type": "number", "exclusiveMinimum": 0, "maximum": 1.5}),
        6 if depth > 0 => object(dice, level, depth - 1),
        6..=8 => {
            let low = dice.roll(3);
            let items = if depth > 0 {
                value(dice, level, depth - 1)
            } else {
                json!({"type": "boolean"})
            };
            json!({"type": "array", "items": items, "minItems": low, "maxItems": low + dice.roll(2)})
        }
        9 => {
            json!({"anyOf": [{"type": "string", "maxLength": 5}, {"type": "integer", "minimum": 0, "maximum": 99}]})
        }
        10 => json!({"const": {"fixed": [1, "two", null]}}),
        11 => json!({"type": ["integer", "null"], "minimum": 1, "maximum": 12}),
        12 => json!({"$ref": "#/$defs/point"}),
        13 => json!({"$ref": "#/$defs/chain"}),
        14 => json!({"type": "string", "pattern": "^[A-Z]{2}-\\d{3}$"}),
        15 => json!({"type": "integer", "multipleOf": 5, "minimum": 0, "maximum": 500}),
        16 => {
            json!({"type": "array", "prefixItems": [{"type": "boolean"}, {"enum": ["x", "y"]}], "items": false, "minItems": 2})
        }
        _ => json!({"oneOf": [
            {"type": "object", "properties": {"kind": {"const": "cat"}, "lives": {"type": "integer", "minimum": 1, "maximum": 9}},
                "required": ["kind", "lives"], "additionalProperties": false},
            {"type": "object", "properties": {"kind": {"const": "dog"}, "good": {"const": true}},
                "required": ["kind", "good"], "additionalProperties": false}
        ]}),
    }
}

fn request(schema: &Value, seed: u64) -> ChatRequest {
    ChatRequest {
        prompt: Prompt::Messages(vec![Message::text(
            "user",
            "Describe something. Answer in JSON.",
        )]),
        max_tokens: Some(ANSWER_TOKENS),
        // Every other answer is drawn, so that unlikely tokens are tried as well.
        sampling: Sampling {
            temperature: (seed % 2) as f32,
            seed: Some(seed),
            ..Sampling::greedy()
        },
        window: 2048,
        options: ChatOptions {
            format: Format::JsonSchema(Json(schema.to_string())),
            ..ChatOptions::default()
        },
    }
}

/// The text of an answer, and how it ended.
async fn answer(engine: &Engine, schema: &Value, seed: u64) -> (String, Finish) {
    let request = request(schema, seed);
    let submitted = engine
        .submit::<Chat>("smollm2-135m-instruct", request)
        .await;
    let mut replies = submitted.unwrap_or_else(|failure| panic!("{failure} for {schema}"));
    let mut text = String::new();
    while let Some(event) = replies.next().await {
        match event.unwrap_or_else(|failure| panic!("{failure} for {schema}")) {
            ChatEvent::Text(piece) => text += &piece,
            ChatEvent::Done { finish, .. } => return (text, finish),
            _ => {}
        }
    }
    panic!("no end of {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_whole_answer_satisfies_its_schema() {
    let engine = Arc::new(Engine::start(Arc::new(SmolLm2), "cpu").unwrap());
    let mut dice = Dice(2026);
    let schemas: Vec<_> = (0..SCHEMAS)
        .map(|place| (place, schema(&mut dice, place * 6 / SCHEMAS)))
        .collect();
    let mut whole = 0;
    for some in schemas.chunks(AT_ONCE) {
        let answers = some.iter().cloned().map(|(seed, schema)| {
            let engine = Arc::clone(&engine);
            let answer = async move { answer(&engine, &schema, seed).await };
            #[allow(clippy::disallowed_methods)] // a test
            tokio::spawn(answer)
        });
        let answers: Vec<_> = answers.collect();
        for (answer, (_, schema)) in answers.into_iter().zip(some) {
            let (text, finish) = answer.await.unwrap();
            if finish == Finish::Length {
                assert!(
                    serde_json::from_str::<Value>(&text).is_err(),
                    "it was whole: {text}"
                );
                continue;
            }
            assert_eq!(finish, Finish::Stop);
            whole += 1;
            let instance: Value =
                serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
            let validator = jsonschema::options()
                .should_validate_formats(true)
                .build(schema)
                .unwrap();
            let errors: Vec<_> = validator
                .iter_errors(&instance)
                .map(|error| error.to_string())
                .collect();
            assert!(errors.is_empty(), "{errors:?}\n{schema}\n{text}");
        }
    }
    let wanted = SCHEMAS as usize * WHOLE_PERCENT / 100;
    assert!(whole >= wanted, "{whole} of {SCHEMAS} answers were whole");
}

/// What a stranger may send: each is refused, or answered, in bounded time and memory.
fn hostile() -> Vec<Value> {
    let nested = |depth: usize| {
        let mut schema = json!({"type": "integer"});
        for _ in 0..depth {
            schema = json!({"type": "object", "properties": {"a": schema}, "required": ["a"]});
        }
        schema
    };
    let many = |count: usize| -> Value {
        let members: Map<_, _> = (0..count)
            .map(|n| {
                (
                    format!("p{n}"),
                    json!({"type": "string", "pattern": "(a|b)*c{1,50}"}),
                )
            })
            .collect();
        json!({"type": "object", "properties": members})
    };
    let doubled: Map<_, _> = (0..30)
        .map(|n| {
            let next = json!({"$ref": format!("#/$defs/d{}", n + 1)});
            (format!("d{n}"), json!({"type": "object", "properties": {"l": next, "r": next}, "required": ["l", "r"]}))
        })
        .chain([("d30".to_owned(), json!({"type": "null"}))])
        .collect();
    let crossed: Vec<_> = (0..40)
        .map(|n| json!({"anyOf": [{"pattern": format!("a{{{n},500}}")}, {"minLength": n}, {"maxLength": 100 + n}]}))
        .collect();
    vec![
        nested(20),
        nested(60),
        many(50),
        many(2000),
        json!({"enum": (0..20_000).map(|n| format!("value number {n}")).collect::<Vec<_>>()}),
        json!({"enum": (0..100).map(|n| "x".repeat(1000 + n)).collect::<Vec<_>>()}),
        json!({"type": "string", "pattern": "^(a+)+b$"}),
        json!({"type": "string", "pattern": "^((((a{1,100}){1,100}){1,100}){1,100})$"}),
        json!({"type": "string", "pattern": "(x+x+)+y.*(z|zz)*.{500}(a|b|c|d){900}"}),
        json!({"type": "string", "pattern": "(".repeat(1000)}),
        json!({"type": "string", "pattern": "^(?:.?){1000}.{1000}$"}),
        json!({"type": "string", "minLength": 9999, "maxLength": 10_000}),
        json!({"type": "array", "items": {"type": "string"}, "minItems": 9000, "maxItems": 10_000}),
        json!({"$defs": doubled, "$ref": "#/$defs/d0"}),
        json!({"$ref": "#"}),
        json!({"allOf": [{"$ref": "#"}]}),
        json!({"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}),
        json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}),
        json!({"$defs": {"a": {"allOf": [{"$ref": "#/$defs/b"}]}, "b": {"allOf": [{"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"}),
        json!({"type": "string", "allOf": crossed}),
        json!({"multipleOf": 1e-300, "type": "number"}),
        json!({"type": "integer", "multipleOf": 9_007_199_254_740_991_i64, "minimum": 1}),
        json!({"type": "number", "minimum": 1e308, "maximum": 1.7e308}),
        json!({"type": "number", "minimum": -1e-308, "maximum": 1e-308}),
        json!({"x-guidance": {"whitespace_pattern": ".{0,100000}", "lenient": true}, "not": {}}),
        json!({"patternProperties": {"(a*)*": {}, "(a+)*b": {"type": "string"}, ".*": {}}, "additionalProperties": false}),
        json!({"type": 7, "enum": "no", "required": {}}),
    ]
}

/// Generous, for machines that are busy: the bounds inside are on work, not on time.
const HOSTILE_MAX: std::time::Duration = std::time::Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
async fn hostile_schemas_are_bounded_and_hurt_nobody_else() {
    let engine = Engine::start(Arc::new(SmolLm2), "cpu").unwrap();
    for schema in hostile() {
        let mut request = request(&schema, 1);
        request.max_tokens = Some(8);
        let asked = async {
            let mut replies = match engine
                .submit::<Chat>("smollm2-135m-instruct", request)
                .await
            {
                Ok(replies) => replies,
                Err(failure) => return Some(failure),
            };
            while let Some(event) = replies.next().await {
                if let Err(failure) = event {
                    return Some(failure);
                }
            }
            None
        };
        let shown: String = schema.to_string().chars().take(100).collect();
        let ended = tokio::time::timeout(HOSTILE_MAX, asked)
            .await
            .expect(&shown);
        assert!(
            matches!(ended, None | Some(Failure::JsonModeUnmet(_))),
            "{ended:?} {shown}"
        );
    }
    let (text, _) = answer(&engine, &json!({"type": "boolean"}), 0).await;
    assert!(["true", "false"].contains(&text.as_str()), "{text}");
}
