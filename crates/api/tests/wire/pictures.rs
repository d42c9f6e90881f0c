//! Tasks that look at pictures and those that paint them.

use crate::files::{base64, hollow_png, indexed, numbers, png, unbase64};
use crate::house::{
    app, binding, both, check_refusal, noted, path, refused, request, run, send, settings, streamed,
};

const INVALID: &str = "AiError: Invalid input";
const RESNET: &str = "@cf/test/resnet";
const LLAVA: &str = "@cf/test/llava";
const MOONDREAM: &str = "@cf/test/moondream";

fn enveloped(result: &str) -> String {
    format!(r#"{{"result":{result},"success":true,"errors":[],"messages":[]}}"#)
}

#[tokio::test]
async fn pictures_come_as_bytes_numbers_typed_arrays_and_streams() {
    let labels = r#"[{"label":"A","score":0.5},{"label":"B","score":0.4375},{"label":"C","score":0.375},{"label":"D","score":0.3125},{"label":"E","score":0.25}]"#;
    let png = png(3, 2);
    for image in [numbers(&png), indexed(&png)] {
        let answer = both(RESNET, &format!(r#"{{"image":{image}}}"#), labels).await;
        assert_eq!(answer.header("cf-ai-neurons"), Some("0.25"));
    }
    assert_eq!(run(RESNET, png.clone()).await.body, enveloped(labels));
    let ask = streamed(RESNET, "image/png", "{}", png);
    assert_eq!(send(&app(settings()), ask).await.body, labels);
    let text = "Bad input: Error: oneOf at '/' not met, 0 matches: Type mismatch of '/', 'string' \
                not in 'object', Type mismatch of '/image', 'array' not in 'string'";
    refused(RESNET, r#"{"image":"abc"}"#, 400, 5006, text).await;
}

#[tokio::test]
async fn things_have_boxes_in_whole_pixels_best_first() {
    let found = r#"[{"score":0.75,"label":"cat","box":{"xmin":64,"ymin":120,"xmax":320,"ymax":480}},{"score":0.25,"label":"dog","box":{"xmin":0,"ymin":0,"xmax":640,"ymax":480}}]"#;
    let image = numbers(&png(3, 2));
    both("@cf/test/detr", &format!(r#"{{"image":{image}}}"#), found).await;
}

#[tokio::test]
async fn pictures_are_described_as_the_prompt_and_the_sampling_say() {
    let png = png(3, 2);
    let image = numbers(&png);
    let answer = both(
        LLAVA,
        &format!(r#"{{"image":{image},"prompt":"what?"}}"#),
        r#"{"description":" a picture: Query(\"what?\")"}"#,
    )
    .await;
    assert_eq!(answer.header("cf-ai-neurons"), Some("742.00"));
    let caption = r#"{"description":" a picture: Caption(\"normal\")"}"#;
    assert_eq!(run(LLAVA, png.clone()).await.body, enveloped(caption));
    let (app, notes) = noted();
    let others =
        r#"{"prompt":"p","raw":true,"max_tokens":7,"temperature":0.5,"top_k":3,"seed":-1}"#;
    let answer = send(&app, streamed(LLAVA, "image/png", others, png.clone())).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    // A binary string, a character a byte, and the same as base64.
    let characters: String = png.iter().map(|byte| char::from(*byte)).collect();
    for image in [characters, base64(&png)] {
        let input = serde_json::json!({"image": image, "prompt": "p"}).to_string();
        let answer = send(&app, request("POST", &path(LLAVA), input)).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    assert_eq!(
        notes.lock().unwrap()[..2],
        [
            r#"Query("p") raw true max 7 objects 0 Sampling { temperature: 0.5, top_p: None, top_k: Some(3), seed: Some(18446744073709551615), repetition_penalty: None, frequency_penalty: None, presence_penalty: None }"#,
            r#"Query("p") raw false max 512 objects 0 Sampling { temperature: 0.0, top_p: None, top_k: None, seed: None, repetition_penalty: None, frequency_penalty: None, presence_penalty: None }"#,
        ]
    );
    let text = "AiError: unexpected inference input: there is no input tensor `temperature`";
    let input = format!(r#"{{"image":{image},"temperature":0.5}}"#);
    refused("@cf/test/uform-gen2-test", input, 400, 3030, text).await;
}

#[tokio::test]
async fn what_is_no_picture_or_too_large_a_one_is_invalid_input() {
    let huge = hollow_png(65_535, 65_535);
    for body in [
        &b"noise"[..],
        &huge,
        &hollow_png(0, 5),
        &png(2, 2)[..12],
        &[0; 64],
    ] {
        for model in [RESNET, "@cf/test/detr", LLAVA] {
            refused(model, body.to_vec(), 400, 8001, INVALID).await;
            let input = format!(r#"{{"image":{}}}"#, numbers(body));
            refused(model, input, 400, 8001, INVALID).await;
        }
        let uri = format!("data:image/png;base64,{}", base64(body));
        refused(
            MOONDREAM,
            format!(r#"{{"image":"{uri}"}}"#),
            400,
            8001,
            INVALID,
        )
        .await;
        let input = format!(r#"{{"prompt":"p","image_b64":"{}"}}"#, base64(body));
        refused("@cf/test/sd", input, 400, 8001, INVALID).await;
    }
    refused(
        RESNET,
        "",
        400,
        3003,
        "Incomplete request: Request is missing headers or body: body",
    )
    .await;
    refused(RESNET, r#"{"image":[]}"#, 400, 8001, INVALID).await;
    let truncated = format!("data:image/png;base64,{}", &base64(&png(2, 2))[..21]);
    refused(
        MOONDREAM,
        format!(r#"{{"image":"{truncated}"}}"#),
        400,
        8001,
        INVALID,
    )
    .await;
}

fn moondream(more: &str) -> String {
    let uri = format!("data:image/png;base64,{}", base64(&png(3, 2)));
    format!(r#"{{"image":"{uri}"{more}}}"#)
}

/// Replaces the times, which no two runs share.
fn timeless(body: &str) -> String {
    let times = regex::Regex::new(r#"_ms":[0-9.]+"#).unwrap();
    times.replace_all(body, r#"_ms":T"#).into_owned()
}

const METRICS: &str = r#""metrics":{"input_tokens":730,"output_tokens":12,"prefill_time_ms":T,"decode_time_ms":T,"ttft_ms":T}"#;

#[tokio::test]
async fn moondream_streams_unless_it_is_told_otherwise() {
    let wanted = [
        r#"{"answer":" a picture:"}"#.into(),
        r#"{"answer":" Query(\"What's in this image?\")"}"#.into(),
        format!(
            r#"{{"finish_reason":"length",{METRICS},"reasoning":{{"text":"I see. Well.","grounding":[]}}}}"#
        ),
        "[DONE]".into(),
    ];
    let wanted = format!("data: {}\n\n", wanted.join("\n\ndata: "));
    let app = app(settings());
    for ask in [
        request("POST", &path(MOONDREAM), moondream("")),
        binding(MOONDREAM, &moondream("")),
    ] {
        let answer = send(&app, ask).await;
        assert_eq!(timeless(&answer.body), wanted);
        assert_eq!(answer.header("content-type"), Some("text/event-stream"));
        assert_eq!(answer.header("cf-ai-neurons"), None);
    }
    for (more, wanted) in [
        (
            r#","stream":false,"reasoning":false"#,
            r#""answer":"a picture: Query(\"What's in this image?\")""#.to_owned(),
        ),
        (
            r#","stream":false,"task":"caption","caption_length":"short""#,
            r#""caption":"a picture: Caption(\"short\")","reasoning":{"text":"I see. Well.","grounding":[]}"#.into(),
        ),
        (
            r#","task":"point","target":"cat""#,
            r#""points":[{"x":0.25,"y":0.5},{"x":0.5,"y":1.0}]"#.into(),
        ),
        (
            r#","task":"detect""#,
            r#""objects":[{"x_min":0.0,"y_min":0.25,"x_max":0.5,"y_max":1.0}]"#.into(),
        ),
    ] {
        let answer = run(MOONDREAM, moondream(more)).await;
        let result = format!(r#"{{"finish_reason":"length",{METRICS},{wanted}}}"#);
        assert_eq!(timeless(&answer.body), enveloped(&result));
        assert_eq!(answer.header("cf-ai-neurons"), Some("742.00"));
    }
    refused(MOONDREAM, "{}", 400, 8001, INVALID).await;
    let text =
        "AiError: image: hearth fetches nothing from the network for a request; send a data URI";
    let input = r#"{"image":"https://example.com/a.png"}"#;
    refused(MOONDREAM, input, 400, 8007, text).await;
}

#[tokio::test]
async fn stable_diffusion_answers_with_a_png_file() {
    let app = app(settings());
    let input = r#"{"prompt":"a"}"#;
    for ask in [
        request("POST", &path("@cf/test/sd"), input),
        binding("@cf/test/sd", input),
    ] {
        let answer = send(&app, ask).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some("image/png"));
        answer.without_id();
        let mut reader = png::Decoder::new(std::io::Cursor::new(&answer.bytes))
            .read_info()
            .unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let frame = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((frame.width, frame.height), (16, 8));
        assert_eq!(pixels, [200, 30, 30].repeat(16 * 8));
    }
}

#[tokio::test]
async fn other_painters_answer_with_jpeg_as_a_file_or_in_json() {
    let app = app(settings());
    let answer = run(
        "@cf/test/phoenix",
        r#"{"prompt":"a","width":32,"height":16}"#,
    )
    .await;
    assert_eq!(answer.header("content-type"), Some("image/jpeg"));
    let size = imagesize::blob_size(&answer.bytes).unwrap();
    assert_eq!((size.width, size.height), (32, 16));
    for (model, neurons, side) in [
        ("@cf/test/flux-1", Some("57.60"), 1024),
        ("@cf/test/lucid", None, 1120),
    ] {
        let input = r#"{"prompt":"a"}"#;
        let bare = send(&app, binding(model, input)).await;
        let output: serde_json::Value = serde_json::from_str(&bare.body).unwrap();
        assert_eq!(output.as_object().unwrap().len(), 1);
        let file = unbase64(output["image"].as_str().unwrap());
        assert_eq!(
            imagesize::image_type(&file).unwrap(),
            imagesize::ImageType::Jpeg
        );
        assert_eq!(imagesize::blob_size(&file).unwrap().width, side);
        let rest = send(&app, request("POST", &path(model), input)).await;
        assert_eq!(rest.body, enveloped(&bare.body));
        assert_eq!(rest.header("cf-ai-neurons"), neurons);
    }
}

#[tokio::test]
async fn painters_are_asked_for_what_was_asked() {
    let (app, notes) = noted();
    let given = png(30, 20);
    let (length, list, encoded) = (given.len(), numbers(&given), base64(&given));
    for (model, input, wanted) in [
        (
            "sd",
            r#"{"prompt":"a"}"#.to_owned(),
            "a | not None NonexNone steps 20 guidance Some(7.5) strength 1 seed None images [] mask None".to_owned(),
        ),
        (
            "sd",
            format!(
                r#"{{"prompt":"a","negative_prompt":"b","width":256,"height":512,"num_steps":4,"strength":0.5,"guidance":2,"seed":9,"image":{list},"mask":{list}}}"#
            ),
            format!("a | not Some(\"b\") Some(256)xSome(512) steps 4 guidance Some(2.0) strength 0.5 seed Some(9) images [{length}] mask Some({length})"),
        ),
        (
            "sd",
            format!(r#"{{"prompt":"a","image_b64":"{encoded}"}}"#),
            format!("a | not None NonexNone steps 20 guidance Some(7.5) strength 1 seed None images [{length}] mask None"),
        ),
        (
            "flux-1",
            r#"{"prompt":"a","steps":2}"#.into(),
            "a | not None Some(1024)xSome(1024) steps 2 guidance None strength 1 seed None images [] mask None".into(),
        ),
        (
            "lucid",
            r#"{"prompt":"a"}"#.into(),
            "a | not None Some(1120)xSome(1120) steps 20 guidance Some(4.5) strength 1 seed None images [] mask None".into(),
        ),
        (
            "lucid",
            r#"{"prompt":"a","steps":3,"width":64,"height":64}"#.into(),
            "a | not None Some(64)xSome(64) steps 3 guidance Some(4.5) strength 1 seed None images [] mask None".into(),
        ),
        (
            "phoenix",
            r#"{"prompt":"a"}"#.into(),
            "a | not None Some(1024)xSome(1024) steps 25 guidance Some(2.0) strength 1 seed None images [] mask None".into(),
        ),
    ] {
        let answer = send(&app, request("POST", &path(&format!("@cf/test/{model}")), input)).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(notes.lock().unwrap().pop().unwrap(), wanted);
    }
    for (model, input) in [
        ("sd", r#"{"prompt":"a","num_steps":0}"#),
        ("sd", r#"{"prompt":"a","strength":1.5}"#),
        ("flux-1", r#"{"prompt":"a","steps":0}"#),
        ("lucid", r#"{"prompt":"a","width":0}"#),
        ("phoenix", r#"{"prompt":"a","height":0}"#),
    ] {
        refused(&format!("@cf/test/{model}"), input, 400, 8001, INVALID).await;
    }
    let both = format!(r#"{{"prompt":"a","image":{list},"image_b64":"{encoded}"}}"#);
    refused("@cf/test/sd", both, 400, 8001, INVALID).await;
}

fn form(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, content) in parts {
        let file = if name.starts_with("input") {
            r#"; filename="a.png""#
        } else {
            ""
        };
        let head =
            format!("--b0undary\r\ncontent-disposition: form-data; name=\"{name}\"{file}\r\n\r\n");
        body.extend([head.as_bytes(), content, b"\r\n"].concat());
    }
    body.extend(b"--b0undary--\r\n");
    body
}

#[tokio::test]
async fn flux_2_takes_a_form_whether_or_not_its_boundary_is_named() {
    let (app, notes) = noted();
    let given = png(400, 512);
    let length = given.len();
    let body = form(&[
        ("prompt", b"a"),
        ("input_image_1", &given),
        ("width", b"512"),
        ("height", b"256"),
        ("guidance", b"2.5"),
        ("seed", b"3"),
        ("other", b"x"),
    ]);
    let dev = "@cf/test/flux-2-dev";
    for content_type in [
        "multipart/form-data; boundary=b0undary",
        "multipart/form-data",
    ] {
        let mut rest = request("POST", &path(dev), body.clone());
        rest.headers_mut()
            .insert("content-type", content_type.parse().unwrap());
        let rest = send(&app, rest).await;
        let bare = send(&app, streamed(dev, content_type, "{}", body.clone())).await;
        assert_eq!(rest.body, enveloped(&bare.body));
        assert!(bare.body.starts_with(r#"{"image":"/9j/"#), "{}", bare.body);
        assert_eq!(rest.header("cf-ai-neurons"), Some("75.00")); // 25 steps of a tile in and one out
        for _ in 0..2 {
            assert_eq!(
                notes.lock().unwrap().pop().unwrap(),
                format!(
                    "a | not None Some(512)xSome(256) steps 25 guidance Some(2.5) strength 1 seed Some(3) images [{length}] mask None"
                )
            );
        }
    }
    let klein = streamed(
        "@cf/test/flux-2-klein",
        "multipart/form-data",
        "{}",
        form(&[("prompt", b"a"), ("steps", b"50")]),
    );
    let answer = send(&app, klein).await;
    assert_eq!(answer.header("cf-ai-neurons"), Some("104.00"));
    assert_eq!(
        notes.lock().unwrap().pop().unwrap(),
        "a | not None Some(1024)xSome(768) steps 4 guidance None strength 1 seed None images [] mask None"
    );
}

#[tokio::test]
async fn flux_2_refuses_what_is_no_form_and_forms_of_wrong_fields() {
    let dev = "@cf/test/flux-2-dev";
    let text = "Bad input: Error: required properties at '/' are 'multipart'";
    refused(dev, r#"{"prompt":"x"}"#, 400, 5006, text).await;
    let large = png(513, 10);
    for (parts, code, text) in [
        (
            &[("steps", &b"4"[..])][..],
            5006,
            "Bad input: Error: required properties at '/' are 'prompt'",
        ),
        (
            &[("prompt", b"a"), ("width", b"100")],
            5006,
            "Bad input: Error: '/width' must be >= 256",
        ),
        (
            &[("prompt", b"a"), ("width", b"wide")],
            5006,
            "Bad input: Error: Type mismatch of '/width', 'integer' not in 'string'",
        ),
        (
            &[("prompt", b"a"), ("input_image_0", b"noise")],
            8001,
            INVALID,
        ),
        (
            &[("prompt", b"a"), ("input_image_0", &large)],
            3030,
            "AiError: input_image_0 is 513x10: at most 512x512 is taken",
        ),
    ] {
        let mut ask = request("POST", &path(dev), form(parts));
        ask.headers_mut().insert(
            "content-type",
            "multipart/form-data; boundary=b0undary".parse().unwrap(),
        );
        let answer = send(&app(settings()), ask).await;
        check_refusal(&answer, 400, code, text);
    }
    let whole = form(&[("prompt", b"a")]);
    let many = form(&[("x", &b"y"[..]); 65]);
    for body in [
        &b"--"[..],
        b"--\r\n",
        b"--x",
        &whole[..40],
        b"no form",
        &many,
    ] {
        let ask = streamed(dev, "multipart/form-data", "{}", body.to_vec());
        let answer = send(&app(settings()), ask).await;
        assert!(
            answer.body.contains(r#""internalCode":8001"#),
            "{}",
            answer.body
        );
    }
}
