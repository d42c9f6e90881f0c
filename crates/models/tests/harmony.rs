//! Answers in channels, as gpt-oss writes them: prompts, tokens to events, and what they are held to.
//!
//! The checkpoint is the tiny one of the architecture, with the format's marks in its vocabulary. Transcripts are
//! after OpenAI, "Harmony response format" (github.com/openai/harmony, docs/format.md).

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::golden;
use engine::model::StepCompanion;
use models::device::Device;
use models::{ChatCompanion, Files, LoadError, decoder};
use serde_json::{Value, json};
use tasks::{
    ChatEvent, ChatOptions, ChatRequest, Failure, Finish, Format, Json, Message, Prompt, Sampling,
    Tool, ToolCall, ToolChoice, Usage,
};

const MARKS: [&str; 7] = [
    "<|start|>",
    "<|end|>",
    "<|message|>",
    "<|channel|>",
    "<|constrain|>",
    "<|return|>",
    "<|call|>",
];

/// In the form of the published template: a system message, one developer message, results behind their calls.
const TEMPLATE: &str = r#"
{%- macro kind(spec) -%}
    {%- if spec.type == "array" -%}{{ kind(spec['items']) + "[]" }}{%- else -%}{{ spec.type }}{%- endif -%}
{%- endmacro -%}
{%- macro system() -%}
    {%- if effort is not defined -%}{%- set effort = reasoning_effort if reasoning_effort is defined else "medium" -%}{%- endif -%}
    {{- "Current date: " + strftime_now("%Y-%m-%d") + "\n\nReasoning: " + effort }}
    {%- if tools -%}{{- "\nCalls go to the commentary channel" }}{%- endif -%}
{%- endmacro -%}
{{- "<|start|>system<|message|>" + system() + "<|end|>" }}
{%- if messages[0].role == "developer" or messages[0].role == "system" %}
    {%- set developer = messages[0].content %}{%- set rest = messages[1:] %}
{%- else %}
    {%- set developer = "" %}{%- set rest = messages %}
{%- endif %}
{%- if developer or tools %}
    {{- "<|start|>developer<|message|>" + developer }}
    {%- for tool in tools or [] %}
        {{- "\n// " + tool.function.description + "\ntype " + tool.function.name + " = (_: {" }}
        {%- for name, spec in tool.function.parameters.properties.items() %}
            {{- name }}{%- if name not in (tool.function.parameters.required or []) %}?{% endif %}: {{ kind(spec) }}
        {%- endfor %}
        {{- "}) => any;" }}
    {%- endfor %}
    {{- "<|end|>" }}
{%- endif %}
{%- set last = namespace(name=none) %}
{%- for message in rest -%}
    {%- if message.role == 'assistant' and "tool_calls" in message %}
        {%- set later = namespace(found=false) %}
        {%- for other in rest[loop.index:] %}
            {%- if other.role == 'assistant' and "tool_calls" not in other %}{%- set later.found = true %}{%- endif %}
        {%- endfor %}
        {%- set call = message.tool_calls[0].function %}
        {%- if message.thinking and not later.found %}
            {{- "<|start|>assistant<|channel|>analysis<|message|>" + message.thinking + "<|end|>" }}
        {%- endif %}
        {{- "<|start|>assistant to=functions." + call.name + "<|channel|>commentary json<|message|>" }}
        {{- call.arguments|tojson + "<|call|>" }}
        {%- set last.name = call.name %}
    {%- elif message.role == 'assistant' %}
        {{- "<|start|>assistant<|channel|>final<|message|>" + message.content + "<|end|>" }}
    {%- elif message.role == 'tool' %}
        {%- if last.name is none %}{{- raise_exception("a result without a call") }}{%- endif %}
        {{- "<|start|>functions." + last.name + " to=assistant<|channel|>commentary<|message|>" + message.content|tojson + "<|end|>" }}
    {%- elif message.role == 'user' %}
        {{- "<|start|>user<|message|>" + message.content + "<|end|>" }}
    {%- endif %}
{%- endfor -%}
{%- if add_generation_prompt -%}
<|start|>assistant
{%- endif -%}
"#;

/// Loads the tiny checkpoint with the marks in place of its last tokens.
fn load(template: &str) -> Result<Arc<ChatCompanion>, LoadError> {
    let folder = tempfile::tempdir().expect("a folder");
    let from = golden("tiny-gpt-oss");
    let put = |name: &str, value: &Value| {
        std::fs::write(folder.path().join(name), value.to_string()).expect("written");
    };
    let read = |name: &str| -> Value {
        let bytes = std::fs::read(from.join(name)).expect("a file");
        serde_json::from_slice(&bytes).expect("JSON")
    };
    let mut tokenizer = read("tokenizer.json");
    let merges = tokenizer["model"]["merges"].as_array_mut().expect("merges");
    merges.truncate(merges.len() - MARKS.len());
    let words = tokenizer["model"]["vocab"].as_object_mut().expect("words");
    let first = words.len() - MARKS.len();
    words.retain(|_, id| (id.as_u64().expect("an id") as usize) < first);
    for (place, mark) in MARKS.iter().enumerate() {
        let id = first + place;
        tokenizer["model"]["vocab"][mark] = id.into();
        let added = json!({"id": id, "content": mark, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true});
        tokenizer["added_tokens"]
            .as_array_mut()
            .expect("tokens")
            .push(added);
    }
    put("tokenizer.json", &tokenizer);
    let mut config = read("config.json");
    config["max_position_embeddings"] = 2048.into();
    config["eos_token_id"] = tokenizer["model"]["vocab"]["<|return|>"].clone();
    put("config.json", &config);
    put("tokenizer_config.json", &json!({"eos_token": "<|return|>"}));
    std::fs::write(folder.path().join("chat_template.jinja"), template).expect("written");
    std::fs::copy(
        from.join("model.safetensors"),
        folder.path().join("model.safetensors"),
    )
    .expect("copied");
    let files = Files::new(folder.path().to_path_buf());
    decoder::load(&files, &Device::Cpu).map(|(companion, _)| companion)
}

fn companion() -> Arc<ChatCompanion> {
    load(TEMPLATE).expect("a checkpoint")
}

fn weather() -> Tool {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string", "maxLength": 8},
        "days": {"type": "array", "items": {"type": "integer"}, "maxItems": 2}}, "required": ["city"]});
    Tool {
        name: "get_weather".into(),
        description: None,
        parameters: Some(Json(schema.to_string())),
    }
}

fn request(options: ChatOptions) -> ChatRequest {
    ChatRequest {
        prompt: Prompt::Messages(vec![Message::text("user", "Hi")]),
        max_tokens: Some(400),
        sampling: Sampling::greedy(),
        window: 2048,
        options,
    }
}

#[test]
fn prompts_come_from_the_template_with_tools_effort_and_what_came_before() {
    let companion = companion();
    let call = |name: &str, id: &str| ToolCall {
        id: Some(id.into()),
        name: name.into(),
        arguments: Json(r#"{"city":"Rome"}"#.into()),
    };
    let result = |id: &str, text: &str| Message {
        tool_call_id: Some(id.into()),
        ..Message::text("tool", text)
    };
    let asks = Message {
        tool_calls: vec![call("get_weather", "1"), call("get_weather", "2")],
        reasoning: Some("Twice.".into()),
        ..Message::text("assistant", "")
    };
    let mut asked = request(ChatOptions {
        tools: vec![weather()],
        effort: Some("high".into()),
        ..ChatOptions::default()
    });
    asked.prompt = Prompt::Messages(vec![
        Message::text("system", "Be kind."),
        Message::text("user", "Hi"),
        asks,
        result("2", "rain"),
        result("1", "sun"),
    ]);
    let tokens = companion.admit(asked).expect("an admission").tokens;
    let date = "0000-00-00";
    let mut rendered = String::new();
    for token in tokens {
        rendered += &companion_text(&companion, token);
    }
    let begins = "<|start|>system<|message|>Current date: ";
    assert!(rendered.starts_with(begins), "{rendered}");
    rendered.replace_range(begins.len()..begins.len() + date.len(), date);
    let called = "<|start|>assistant to=functions.get_weather<|channel|>commentary json<|message|>{\"city\": \"Rome\"}<|call|>\
        <|start|>functions.get_weather to=assistant<|channel|>commentary<|message|>";
    assert_eq!(
        rendered,
        format!(
            "{begins}{date}\n\nReasoning: high\nCalls go to the commentary channel<|end|>\
             <|start|>developer<|message|>Be kind.\n// \ntype get_weather = (_: {{city: stringdays?: integer[]}}) => any;<|end|>\
             <|start|>user<|message|>Hi<|end|><|start|>assistant<|channel|>analysis<|message|>Twice.<|end|>\
             {called}\"sun\"<|end|>{called}\"rain\"<|end|><|start|>assistant"
        )
    );
}

/// The text of a token, with marks written out.
fn companion_text(companion: &ChatCompanion, token: u32) -> String {
    let marks: BTreeMap<u32, &str> = MARKS
        .iter()
        .map(|mark| (id(companion, mark), *mark))
        .collect();
    if let Some(mark) = marks.get(&token) {
        return (*mark).to_owned();
    }
    let request = ChatRequest {
        prompt: Prompt::Raw("a".into()),
        ..request(ChatOptions::default())
    };
    let mut writer = companion.admit(request).expect("an admission").writer;
    let mut out = Vec::new();
    writer.token(token, &mut out);
    writer.finish(Finish::Length, Usage::default(), &mut out);
    texts(&out)
}

fn texts(events: &[ChatEvent]) -> String {
    let text = |event: &ChatEvent| match event {
        ChatEvent::Text(text) => Some(text.clone()),
        _ => None,
    };
    events.iter().filter_map(text).collect()
}

fn id(companion: &ChatCompanion, mark: &str) -> u32 {
    companion.text().tokens(mark, false).expect("tokens")[0]
}

/// Everything that an answer comes to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    thought: String,
    text: String,
    calls: Vec<(String, String)>,
    finish: Option<Finish>,
}

fn write(companion: &ChatCompanion, options: &ChatOptions, tokens: &[u32]) -> Told {
    let mut writer = companion
        .admit(request(options.clone()))
        .expect("an admission")
        .writer;
    let mut events = Vec::new();
    let mut finish = Finish::Length;
    for &token in tokens {
        if let Some(end) = writer.token(token, &mut events) {
            finish = end;
            break;
        }
    }
    writer.finish(finish, Usage::default(), &mut events);
    let mut told = Told::default();
    for event in events {
        match event {
            ChatEvent::Read { .. } | ChatEvent::Logprobs(_) => {}
            ChatEvent::Text(text) => told.text += &text,
            ChatEvent::Reasoning(text) => told.thought += &text,
            ChatEvent::ToolCall(call) => told.calls.push((call.name, call.arguments.0)),
            ChatEvent::Done { finish, .. } => told.finish = Some(finish),
        }
    }
    told
}

#[test]
fn tokens_become_thoughts_text_and_calls_and_marks_are_never_told() {
    let companion = companion();
    let tokens = |text: &str| companion.text().tokens(text, false).expect("tokens");
    let options = ChatOptions {
        tools: vec![weather()],
        ..ChatOptions::default()
    };
    let mut answer = tokens(
        "<|channel|>analysis<|message|>User asks: \"What is 2 + 2?\" 🙂<|end|>\
         <|start|>assistant<|channel|>final<|message|>2 + 2 = 4. The mark is ",
    );
    // Spelled out in letters, a mark is text.
    answer.extend(tokens("<|e"));
    answer.extend(tokens("nd|>"));
    answer.push(id(&companion, "<|return|>"));
    answer.extend(tokens("not read"));
    assert_eq!(
        write(&companion, &options, &answer),
        Told {
            thought: "User asks: \"What is 2 + 2?\" 🙂".into(),
            text: "2 + 2 = 4. The mark is <|end|>".into(),
            calls: Vec::new(),
            finish: Some(Finish::Stop),
        }
    );
    let call = tokens(
        "<|channel|>analysis<|message|>Need to use function get_weather.<|end|><|start|>assistant<|channel|>commentary \
         to=functions.get_weather <|constrain|>json<|message|>{\"city\":\"San Francisco\"}<|call|>",
    );
    assert_eq!(
        write(&companion, &options, &call),
        Told {
            thought: "Need to use function get_weather.".into(),
            text: String::new(),
            calls: vec![("get_weather".into(), "{\"city\":\"San Francisco\"}".into())],
            finish: Some(Finish::ToolCalls),
        }
    );
}

/// An answer by somebody who writes whatever is allowed: `seed` chooses, thinking ends soon.
fn babble(companion: &ChatCompanion, options: &ChatOptions, seed: u64) -> Vec<u32> {
    let mut rules = companion
        .admit(request(options.clone()))
        .expect("an admission")
        .rules
        .expect("rules");
    let ends = ["<|return|>", "<|call|>"].map(|mark| id(companion, mark));
    let end = id(companion, "<|end|>");
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut tokens = Vec::new();
    for _ in 0..400 {
        let mut logits = vec![0.0_f32; 512];
        rules.apply(&tokens, &mut logits).expect("applied");
        let allowed: Vec<u32> = (0..512)
            .filter(|&token| logits[token as usize] == 0.0)
            .collect();
        assert!(!allowed.is_empty(), "nothing is allowed behind {tokens:?}");
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let pick = allowed[(state % allowed.len() as u64) as usize];
        // Whoever thinks, or writes a long string, would hardly ever come to an end by chance.
        let quotes = companion.text().tokens("\"", false).expect("tokens")[0];
        let wanted = [end, quotes]
            .into_iter()
            .find(|token| allowed.contains(token));
        let token = wanted.filter(|_| state.is_multiple_of(5)).unwrap_or(pick);
        tokens.push(token);
        // The first three tokens of this vocabulary are marks, of which two end turns.
        if ends.contains(&token) || token < 3 {
            break;
        }
    }
    tokens
}

#[test]
fn whatever_is_written_answers_in_the_schema_or_calls_a_tool_with_its_arguments() {
    let companion = companion();
    let schema = json!({"type": "object", "properties": {"ok": {"type": "boolean"}, "n": {"enum": [1, 22]}},
        "required": ["ok", "n"], "additionalProperties": false});
    let fits = |text: &str| {
        let value: Value = serde_json::from_str(text).unwrap_or_else(|_| panic!("no JSON: {text}"));
        value["ok"].is_boolean() && [1, 22].map(Value::from).contains(&value["n"])
    };
    let json_only = ChatOptions {
        format: Format::JsonSchema(Json(schema.to_string())),
        ..ChatOptions::default()
    };
    let must_call = ChatOptions {
        tools: vec![weather()],
        tool_choice: ToolChoice::Required,
        ..ChatOptions::default()
    };
    let either = ChatOptions {
        tools: vec![weather()],
        ..json_only.clone()
    };
    let (mut answered, mut called, mut thought) = (0, 0, 0);
    for seed in 1..=60 {
        for options in [&json_only, &must_call, &either] {
            let told = write(&companion, options, &babble(&companion, options, seed));
            if told.finish == Some(Finish::Length) {
                continue; // cut, as by anyone who does not come to an end
            }
            thought += usize::from(!told.thought.is_empty());
            match told.calls.as_slice() {
                [] => {
                    assert!(options.tool_choice != ToolChoice::Required, "{told:?}");
                    assert!(fits(&told.text), "{told:?}");
                    answered += 1;
                }
                [(name, arguments)] => {
                    assert!(!options.tools.is_empty(), "{told:?}");
                    assert_eq!((name.as_str(), told.text.as_str()), ("get_weather", ""));
                    let arguments: Value = serde_json::from_str(arguments).expect("JSON");
                    let city = arguments["city"].as_str().expect("a city");
                    assert!(city.chars().count() <= 8, "{told:?}");
                    called += 1;
                }
                _ => panic!("{told:?}"),
            }
        }
    }
    assert!(
        answered > 40 && called > 40 && thought > 40,
        "{answered} {called} {thought}"
    );
}

#[test]
fn arguments_of_a_call_that_nobody_asked_for_are_held_to_and_prose_about_one_is_free() {
    let companion = companion();
    let options = ChatOptions {
        tools: vec![weather()],
        ..ChatOptions::default()
    };
    let tokens = |text: &str| companion.text().tokens(text, false).expect("tokens");
    let allowed = |text: &str| {
        let mut rules = companion
            .admit(request(options.clone()))
            .expect("an admission")
            .rules
            .expect("rules");
        let mut logits = vec![0.0_f32; 512];
        rules.apply(&tokens(text), &mut logits).expect("applied");
        logits.iter().filter(|logit| **logit == 0.0).count()
    };
    assert_eq!(allowed(""), 512);
    let header = "<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>";
    assert!(allowed(header) < 10);
    let other = " to=functions.get_weather<|channel|>commentary json<|message|>{";
    assert!(allowed(other) < 20);
    // Whole: whatever comes behind it.
    assert_eq!(allowed(&format!("{header}{{\"city\":\"a\"}}")), 512);
    for free in [
        "<|channel|>analysis<|message|>I call to=functions.get_weather json",
        "<|channel|>commentary to=functions.other json<|message|>",
        "<|channel|>commentary to=functions.get_weather json",
        "<|channel|>final<|message|>",
    ] {
        assert_eq!(allowed(free), 512, "{free}");
    }
}

#[test]
fn what_it_cannot_render_or_load_is_refused() {
    let companion = companion();
    let mut asked = request(ChatOptions::default());
    asked.prompt = Prompt::Messages(vec![Message::text("wizard", "w")]);
    let refused = companion.admit(asked).err();
    assert!(matches!(refused, Some(Failure::BadInput(_))), "{refused:?}");
    let refused = load("{{ messages[0].content }}").err();
    assert!(
        matches!(refused, Some(LoadError::Unsupported { .. })),
        "{refused:?}"
    );
}
