//! Tasks of text alone: ranks, labels, translations, summaries, decisions.

use serde_json::json;

use crate::files::{base64, hollow_png, png};
use crate::house::{both, noted, path, refused, request, run, send};

const INVALID: &str = "AiError: Invalid input";

#[tokio::test]
async fn contexts_are_ranked_best_first_and_cut_to_top_k() {
    let contexts = r#"[{"text":"0.25"},{"text":"0.75"},{"text":"0.5"}]"#;
    let model = "@cf/test/reranker";
    let answer = both(
        model,
        &format!(r#"{{"query":"q","contexts":{contexts}}}"#),
        r#"{"response":[{"id":1,"score":0.75},{"id":2,"score":0.5},{"id":0,"score":0.25}]}"#,
    )
    .await;
    assert_eq!(answer.header("cf-ai-neurons"), Some("21.00"));
    assert_eq!(answer.header("hearth-model"), Some("judge; grade=exact"));
    let input = format!(r#"{{"query":"q","contexts":{contexts},"top_k":1}}"#);
    both(model, &input, r#"{"response":[{"id":1,"score":0.75}]}"#).await;
    both(
        model,
        r#"{"query":"q","contexts":[]}"#,
        r#"{"response":[]}"#,
    )
    .await;
    let long = "1".repeat(600);
    let input = format!(r#"{{"query":"q","contexts":[{{"text":"{long}"}}]}}"#);
    assert_eq!(
        run(model, input).await.header("hearth-truncated"),
        Some("1")
    );
    let text = "Bad input: Error: required properties at '/' are 'query,contexts'";
    refused(model, "{}", 400, 5006, text).await;
    let many = vec![r#"{"text":"0"}"#; 2049].join(",");
    let text = "AiError: 2049 contexts in one request: at most 2048 are taken";
    let input = format!(r#"{{"query":"q","contexts":[{many}]}}"#);
    refused(model, input, 400, 3030, text).await;
}

#[tokio::test]
async fn labels_of_a_text_are_a_bare_list_in_their_own_order() {
    let answer = both(
        "@cf/test/sentiment",
        r#"{"text":"good"}"#,
        r#"[{"label":"NEGATIVE","score":0.0001},{"label":"POSITIVE","score":0.9999}]"#,
    )
    .await;
    assert_eq!(answer.header("cf-ai-neurons"), Some("7.00"));
    let text = "Bad input: Error: required properties at '/' are 'text'";
    refused("@cf/test/sentiment", "{}", 400, 5006, text).await;
}

#[tokio::test]
async fn languages_are_named_by_code_or_in_english() {
    let model = "@cf/test/m2m100";
    for (input, result) in [
        (r#"{"text":"x","target_lang":"fr"}"#, "en>fr x"),
        (
            r#"{"text":"x","source_lang":"English","target_lang":"SPANISH"}"#,
            "en>es x",
        ),
        (
            r#"{"text":"x","source_lang":"zh","target_lang":"Haitian Creole"}"#,
            "zh>ht x",
        ),
    ] {
        let result = format!(r#"{{"translated_text":"{result}"}}"#);
        let answer = both(model, input, &result).await;
        assert_eq!(answer.header("cf-ai-neurons"), Some("9.00"));
    }
    for input in [
        r#"{"text":"x","target_lang":"klingon"}"#,
        r#"{"text":"x","source_lang":"","target_lang":"fr"}"#,
    ] {
        refused(model, input, 400, 8001, INVALID).await;
    }
    let text = "AiError: requests is not served by this version of hearth";
    let input = r#"{"requests":[{"text":"x","target_lang":"fr"}]}"#;
    refused(model, input, 400, 8007, text).await;
}

#[tokio::test]
async fn indic_translations_are_a_list_also_of_one() {
    let model = "@cf/test/indictrans2";
    for (input, result) in [
        (r#"{"text":"x"}"#, r#"["eng_Latn>hin_Deva x"]"#),
        (
            r#"{"text":["x","y"],"target_language":"tam_Taml"}"#,
            r#"["eng_Latn>tam_Taml x","eng_Latn>tam_Taml y"]"#,
        ),
        (r#"{"text":[]}"#, "[]"),
    ] {
        both(model, input, &format!(r#"{{"translations":{result}}}"#)).await;
    }
    refused(model, r#"{"text":[""]}"#, 400, 8001, INVALID).await;
}

#[tokio::test]
async fn summaries_have_the_schemas_length() {
    let model = "@cf/test/bart";
    let result = r#"{"summary":"at most 1024 of 1024"}"#;
    let answer = both(model, r#"{"input_text":"x"}"#, result).await;
    assert_eq!(answer.header("hearth-truncated"), Some("1"));
    assert_eq!(answer.header("cf-ai-neurons"), None);
    let result = r#"{"summary":"at most 50 of 1024"}"#;
    both(model, r#"{"input_text":"x","max_length":50}"#, result).await;
    refused(
        model,
        r#"{"input_text":"x","max_length":0}"#,
        400,
        8001,
        INVALID,
    )
    .await;
}

const CLEF: &str = "@cf/test/clef";

#[tokio::test]
async fn decisions_answer_each_question_in_its_own_form() {
    let input = r#"{"model":" clef ","state":{"a":1},"questions":{
        "yes":{"type":"noul","instructions":"is it?","criteria":{"true":"it is","false":null}},
        "one":{"type":"choice","instructions":["which"],"criteria":{"b":"bee","a":null}},
        "level":{"type":"score","instructions":"how?","criteria":["low",{"is":"mid"},"high"]}}}"#;
    let result = concat!(
        r#"{"model":"clef","answers":{"yes":{"type":"noul","noul":0.93},"#,
        r#""one":{"type":"choice","choice":"b","probabilities":{"b":0.93,"a":0.07},"#,
        r#""confidence":0.7396},"#,
        r#""level":{"type":"score","score":1.4,"legend":{"0":"low","1":{"is":"mid"},"2":"high"},"#,
        r#""probabilities":{"0":0.1,"1":0.4,"2":0.5},"confidence":0.13}},"#,
        r#""usage":{"input_tokens":120,"output_tokens":3}}"#
    );
    let answer = both(CLEF, input, result).await;
    assert_eq!(answer.header("cf-ai-neurons"), Some("123.00"));
    let (app, notes) = noted();
    send(&app, request("POST", &path(CLEF), input)).await;
    let mut notes = notes.lock().unwrap().clone();
    notes.sort_unstable();
    assert_eq!(
        notes,
        [
            r#"{"a":1} Choice ["which"] [("b", "bee"), ("a", "")] images [] window 65536"#,
            r#"{"a":1} Noul is it? [("true", "it is"), ("false", "")] images [] window 65536"#,
            r#"{"a":1} Score how? [("0", "low"), ("1", "{\"is\":\"mid\"}"), ("2", "high")] images [] window 65536"#,
        ]
    );
}

#[tokio::test]
async fn decisions_take_pictures_within_their_bounds() {
    let ask = |images: serde_json::Value| {
        json!({"model": "clef", "state": "s", "images": images,
               "questions": {"a": {"type": "noul", "instructions": "i"}}})
        .to_string()
    };
    let png = png(3, 2);
    let encoded = base64(&png);
    let uri = format!("data:image/png;base64,{encoded}");
    let part = json!({"content_type": "image/png", "base64": encoded});
    let (app, notes) = noted();
    let input = ask(json!([uri, part]));
    let answer = send(&app, request("POST", &path(CLEF), input)).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let length = png.len();
    let noted = format!("images [{length}, {length}]");
    assert!(notes.lock().unwrap()[0].contains(&noted));
    let huge = base64(&hollow_png(5000, 5000));
    for images in [
        json!([uri, uri, uri, uri, uri]),
        json!([format!("data:image/png;base64,{huge}")]),
        json!(["https://x/y.png"]),
        json!(["data:image/png,plain"]),
        json!([{"content_type": "image/png", "base64": 5}]),
        json!([{"content_type": "image/gif", "base64": base64(b"GIF89a\x01\x00\x01\x00\x00\x00\x00")}]),
        json!([5]),
    ] {
        let input = ask(images);
        let answer = run(CLEF, input.clone()).await;
        assert!(
            answer.body.contains(r#""code":8001"#),
            "{input}: {}",
            answer.body
        );
    }
}

#[tokio::test]
async fn questions_that_no_form_fits_are_invalid_input() {
    for question in [
        r#""a":{"type":"maybe","instructions":"i"}"#,
        r#""a":{"type":"noul"}"#,
        r#""a":{"type":"choice","instructions":"i","criteria":{"b":"c"}}"#,
        r#""a":{"type":"score","instructions":"i","criteria":["low"]}"#,
        r#""a":5"#,
        r#""a b":{"type":"noul","instructions":"i"}"#,
    ] {
        let input = format!(r#"{{"model":"clef","state":1,"questions":{{{question}}}}}"#);
        let answer = run(CLEF, input).await;
        assert_eq!(answer.status, 400, "{question}");
        // The schema refuses some, the model the others.
        let told = [r#""code":5006"#, r#""code":8001"#];
        assert!(
            told.iter().any(|code| answer.body.contains(code)),
            "{question}"
        );
    }
    let text = "Bad input: Error: required properties at '/' are 'model,state,questions'";
    let input = r#"{"model":"clef","state":"x","questions":{}}"#;
    refused(CLEF, input, 400, 5006, text).await;
}

/// The most bytes of a body of clef's.
const LIMIT: usize = 13 * 1024 * 1024;

#[tokio::test]
async fn decisions_take_thirteen_megabytes() {
    let ask = |bytes: usize| {
        let fixed =
            r#"{"model":"clef","questions":{"a":{"type":"noul","instructions":"i"}},"state":""}"#;
        fixed.replace(
            r#"""}"#,
            &format!(r#""{}"}}"#, "x".repeat(bytes - fixed.len())),
        )
    };
    assert_eq!(run(CLEF, ask(LIMIT)).await.status, 200);
    let text = "Request too large: Request is too large";
    refused(CLEF, ask(LIMIT + 1), 413, 3006, text).await;
}
