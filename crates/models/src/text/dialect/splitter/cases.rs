//! Transcripts in the words of each family: after their published chat templates and tool parsers.

use super::super::Dialect;

/// Texts of every family, and what they come to.
pub(super) const CASES: &[(Dialect, &str, &[&str])] = &[
    (
        Dialect::Hermes,
        "plain <b>text</b>",
        &["text plain <b>text</b>"],
    ),
    (
        Dialect::Hermes,
        "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": \"</tool_call>}\"}}\n</tool_call>",
        &["call f{\"a\":\"</tool_call>}\"}"],
    ),
    (
        Dialect::Hermes,
        "Let me see.<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>\n<tool_call>\n{\"name\":\"g\"}\n</tool_call> ",
        &["text Let me see.", "call f{}", "call g{}"],
    ),
    (
        Dialect::Hermes,
        "<think>\nf or g?\n\n</think>\n\n<tool_call>{\"name\":\"f\"}</tool_call>",
        &["thought f or g?", "call f{}"],
    ),
    (
        Dialect::Hermes,
        "<think>a <tool_call> é</think>b",
        &["thought a <tool_call> é", "text b"],
    ),
    // Calls of nobody's tools, broken and unfinished ones are text.
    (
        Dialect::Hermes,
        "<tool_call>{\"name\":\"h\"}</tool_call>x",
        &["text <tool_call>{\"name\":\"h\"}</tool_call>x"],
    ),
    (
        Dialect::Hermes,
        "<tool_call>{\"name\": \"f\", ",
        &["text <tool_call>{\"name\": \"f\", "],
    ),
    (
        Dialect::Hermes,
        "<tool_call>f</tool_call>",
        &["text <tool_call>f</tool_call>"],
    ),
    (Dialect::Hermes, "  a <tool_", &["text   a <tool_"]),
    (
        Dialect::Llama,
        "{\"name\": \"f\", \"parameters\": {\"a\": 1}}; {\"name\": \"g\", \"parameters\": {}}",
        &["call f{\"a\":1}", "call g{}"],
    ),
    (
        Dialect::Llama,
        "<|python_tag|>{\"type\": \"function\", \"name\": \"f\", \"parameters\": {}}",
        &["call f{}"],
    ),
    (
        Dialect::Llama,
        "<|python_tag|>f(a=[1], b='x')",
        &["call f{\"a\":[1],\"b\":\"x\"}"],
    ),
    (
        Dialect::Llama,
        "{\"city\": \"Paris\"}",
        &["text {\"city\": \"Paris\"}"],
    ),
    (
        Dialect::Llama,
        "so {\"name\": \"f\"}",
        &["text so {\"name\": \"f\"}"],
    ),
    (
        Dialect::Mistral,
        "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {\"a\": [1]}}, {\"name\": \"g\", \"arguments\": {}}]",
        &["call f{\"a\":[1]}", "call g{}"],
    ),
    (
        Dialect::MistralNamed,
        "Well.[TOOL_CALLS]f[CALL_ID]a1[ARGS]{\"name\": 2}[TOOL_CALLS]g[ARGS]{}",
        &["text Well.", "call f{\"name\":2}", "call g{}"],
    ),
    (
        Dialect::Gemma,
        "```tool_code\nprint(f(a=1))\n```",
        &["call f{\"a\":1}"],
    ),
    (
        Dialect::Gemma,
        "```json\n{\"name\": \"f\", \"arguments\": {}}\n```",
        &["call f{}"],
    ),
    (
        Dialect::Gemma,
        "See:\n```json\n{\"a\": 1}\n```\nDone.",
        &["text See:\n```json\n{\"a\": 1}\n```\nDone."],
    ),
    (
        Dialect::Gemma,
        "[f(a=True), g()]",
        &["text [f(a=True), g()]"],
    ),
    // Llama 4.
    (
        Dialect::Llama,
        "<|python_start|>[f(n=1), g()]<|python_end|>",
        &["call f{\"n\":1}", "call g{}"],
    ),
    (
        Dialect::Llama,
        "<|python_start|>{\"name\": \"f\", \"parameters\": {}}<|python_end|>",
        &["call f{}"],
    ),
    // Values of the types that the schema names; lines around them are the notation's.
    (
        Dialect::Tagged,
        "<think>hm</think>\n\nLet me see.\n<tool_call>\n<function=f>\n<parameter=n>\n3\n</parameter>\n<parameter=s>\n12\n\
         </parameter>\n<parameter=l>\n[1, {\"a\": null}]\n</parameter>\n<parameter=b>\nTrue\n</parameter>\n\
         <parameter=o>\nnull\n</parameter>\n</function>\n</tool_call>\n<tool_call>\n<function=g>\n</function>\n</tool_call>",
        &[
            "thought hm",
            "text Let me see.\n",
            "call f{\"n\":3,\"s\":\"12\",\"l\":[1,{\"a\":null}],\"b\":true,\"o\":null}",
            "call g{}",
        ],
    ),
    (
        Dialect::Tagged,
        "<tool_call>\n<function=f>\n<parameter=s>\n\n a </tool_call> é\n\n</parameter>\n<parameter=n>\nx\n</parameter>\n\
         </function>\n</tool_call>",
        &["call f{\"s\":\"\\n a </tool_call> é\\n\",\"n\":\"x\"}"],
    ),
    (
        Dialect::Tagged,
        "<function=f>\n<parameter=o>\n\"12\"\n</parameter>\n</function>\n</tool_call>",
        &["call f{\"o\":\"12\"}"],
    ),
    (
        Dialect::Tagged,
        "<function=f>\n<parameter=b>\nfalse\n</parameter>\n</function>\n</tool_call>",
        &["call f{\"b\":false}"],
    ),
    (
        Dialect::Tagged,
        "Write <function=f> for it.",
        &["text Write <function=f> for it."],
    ),
    (
        Dialect::Tagged,
        "<tool_call>\n<function=f>\n<parameter=n>\n3",
        &["text <tool_call>\n<function=f>\n<parameter=n>\n3"],
    ),
    (
        Dialect::Tagged,
        "<tool_call>\n<function=h>\n</function>\n</tool_call>",
        &["text <tool_call>\n<function=h>\n</function>\n</tool_call>"],
    ),
    (
        Dialect::Paired,
        "ok<tool_call>f<arg_key>n</arg_key><arg_value>3</arg_value><arg_key>s</arg_key><arg_value>a b</arg_value></tool_call>\
         <tool_call>g</tool_call>",
        &["text ok", "call f{\"n\":3,\"s\":\"a b\"}", "call g{}"],
    ),
    (
        Dialect::Paired,
        "<tool_call>f\n<arg_key>l</arg_key>\n<arg_value>[\"x\"]</arg_value>\n</tool_call>",
        &["call f{\"l\":[\"x\"]}"],
    ),
    (
        Dialect::Dsml,
        "I look.\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"s\" string=\"true\">1\
         </｜DSML｜parameter>\n<｜DSML｜parameter name=\"n\" string=\"false\">2</｜DSML｜parameter>\n</｜DSML｜invoke>\n\
         <｜DSML｜invoke name=\"g\">\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>",
        &[
            "text I look.\n\n",
            "call f{\"s\":\"1\",\"n\":2}",
            "call g{}",
        ],
    ),
    (
        Dialect::Dsml,
        "<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"g\">\n</｜DSML｜invoke>\n</｜DSML｜function_calls>",
        &["call g{}"],
    ),
    (
        Dialect::Kimi,
        "Sure.<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{\"n\": 1}\
         <|tool_call_end|><|tool_call_begin|>functions.g:1<|tool_call_argument_begin|>{}<|tool_call_end|>\
         <|tool_calls_section_end|>",
        &["text Sure.", "call f{\"n\":1}", "call g{}"],
    ),
    (
        Dialect::Gemma4,
        "<|tool_call>call:f{s:<|\"|>a, {b}<|\"|>,l:[1,<|\"|>x<|\"|>]}<tool_call|><|tool_call>call:g{}<tool_call|>",
        &["call f{\"s\":\"a, {b}\",\"l\":[1,\"x\"]}", "call g{}"],
    ),
];
