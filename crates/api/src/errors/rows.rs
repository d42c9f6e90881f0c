//! Every row of the table, byte for byte, in the form of each surface.

use axum::http::HeaderValue;
use http_body_util::BodyExt;
use serde_json::json;
use tasks::Failure;

use super::{Refusal, RequestId, inference};
use crate::surface::Surface;

/// A refusal; its status, code, short name, message and the binding's description.
type Row = (Refusal, u16, u16, &'static str, String, String);

#[allow(clippy::too_many_lines)] // it is a table
fn rows() -> Vec<Row> {
    let same = |refusal: Refusal, status, code, name, text: &str| {
        (
            refusal,
            status,
            code,
            name,
            text.to_owned(),
            text.to_owned(),
        )
    };
    let failure = |failure: Failure, status, code, name, text: &str| {
        same(failure.into(), status, code, name, text)
    };
    let ai = "AiError";
    vec![
        failure(
            Failure::Schema("required properties at '/' are 'text'".into()),
            400,
            5006,
            "Bad input",
            "Error: required properties at '/' are 'text'",
        ),
        failure(
            Failure::NoSuchModel("@cf/x".into()),
            400,
            5007,
            "No such model",
            "No such model @cf/x or task",
        ),
        (
            Refusal::Failure(Failure::Deprecated {
                model: "@cf/x".into(),
                on: "2026-05-30".into(),
            }),
            410,
            5028,
            "Model has been deprecated",
            "@cf/x was deprecated on 2026-05-30".into(),
            "This model was deprecated on 2026-05-30. Please use an alternative model.".into(),
        ),
        failure(
            Failure::Missing("body".into()),
            400,
            3003,
            "Incomplete request",
            "Request is missing headers or body: body",
        ),
        failure(
            Failure::TooLarge { limit_bytes: 1 },
            413,
            3006,
            "Request too large",
            "Request is too large",
        ),
        failure(
            Failure::BadInput("secret".into()),
            400,
            8001,
            ai,
            "Invalid input",
        ),
        failure(
            Failure::ContextExceeded {
                tokens: 8810,
                window: 8192,
            },
            413,
            5021,
            "Ai",
            "The estimated number of input and maximum output tokens (8810) exceeded this model \
             context window limit (8192).",
        ),
        failure(
            Failure::Unsupported("not here".into()),
            400,
            8007,
            ai,
            "not here",
        ),
        failure(
            Failure::NoLora("@cf/x".into()),
            405,
            5005,
            "LoRa unsupported",
            "The model `@cf/x` does not support LoRa inference",
        ),
        failure(
            Failure::NoJsonMode,
            403,
            5025,
            ai,
            "This model doesn't support JSON Schema.",
        ),
        failure(
            Failure::JsonModeUnmet("secret".into()),
            400,
            5024,
            ai,
            "JSON Model couldn't be met",
        ),
        failure(
            Failure::Busy,
            429,
            3040,
            ai,
            "Capacity temporarily exceeded, please try again.",
        ),
        failure(Failure::Timeout, 408, 3046, ai, "Request timeout"),
        failure(
            Failure::Aborted,
            408,
            3008,
            "Aborted",
            "Request was aborted",
        ),
        failure(
            Failure::Unavailable("pull it".into()),
            503,
            7009,
            ai,
            "pull it",
        ),
        failure(
            Failure::Internal("secret".into()),
            500,
            3043,
            ai,
            "Internal server error",
        ),
        same(
            Refusal::StreamedJson,
            400,
            5023,
            ai,
            "JSON Schema mode is not supported with stream mode",
        ),
        same(
            Refusal::NotBase64("boolean"),
            400,
            5004,
            "Invalid data type",
            "Invalid data type for base64 input: `boolean`",
        ),
        same(
            Refusal::NoFinetune,
            400,
            3039,
            "Finetune missing required files",
            "Finetune is missing required files (model.safetensors and config.json)",
        ),
        same(
            Refusal::NotAgreed,
            403,
            5016,
            "Model agreement",
            "Prior to using this model, you must submit the prompt 'agree'. By submitting 'agree', \
             you agree to the model's licence and acceptable use policy.",
        ),
        same(
            Refusal::Private,
            403,
            5018,
            "Account not allowed for private model",
            "This account is not allowed to access this model",
        ),
        same(
            Refusal::PaidOnly("@cf/x".into()),
            403,
            5035,
            "Model @cf/x is not available on the Workers Free plan",
            "Model @cf/x is not available on the Workers Free plan. Upgrade to access this model: \
             https://dash.cloudflare.com/?to=/:account/workers/plans",
        ),
        same(
            Refusal::QuotaSpent,
            429,
            4006,
            ai,
            "you have used up your daily free allocation of 10,000 neurons, please upgrade to \
             Cloudflare's Workers Paid plan if you would like to continue usage.",
        ),
        same(
            Refusal::RateLimited,
            429,
            3021,
            ai,
            "rate limiting: inference request per min rate reached",
        ),
        same(
            Refusal::Upstream("too many".into()),
            400,
            3030,
            ai,
            "too many",
        ),
        same(
            Refusal::OldSdk,
            405,
            5019,
            "Deprecated SDK version",
            "Request trying to use deprecated SDK version",
        ),
        same(
            Refusal::NoSuchBatch("a".into()),
            404,
            7002,
            "Not Found",
            "No such request a",
        ),
    ]
}

#[tokio::test]
async fn each_row_has_its_bytes_on_each_surface() {
    for (refusal, status, code, name, message, description) in rows() {
        for surface in [
            Surface::Rest,
            Surface::OpenAi,
            Surface::Binding,
            Surface::Gateway,
            Surface::GatewayOpenAi,
            Surface::Responses,
        ] {
            let id = RequestId::new();
            let response = inference(&refusal, "@cf/x", id, surface);
            assert_eq!(response.status(), status, "{refusal:?}");
            let told = response.headers().get(RequestId::HEADER);
            let told = told.map(HeaderValue::as_bytes);
            assert_eq!(told, Some(id.to_string().as_bytes()));
            let kind = response.headers().get("content-type").unwrap();
            assert_eq!(kind, "application/json");
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let text = json!(format!("AiError: {name}: {message} ({id})"));
            let wanted = match surface {
                Surface::Rest | Surface::OpenAi => format!(
                    r#"{{"errors":[{{"message":{text},"code":{code}}}],"success":false,"result":{{}},"messages":[]}}"#
                ),
                Surface::Binding | Surface::Gateway | Surface::GatewayOpenAi => format!(
                    r#"{{"name":"AiError","internalCode":{code},"httpCode":{status},"message":{text},"description":{},"requestId":"{id}"}}"#,
                    json!(description)
                ),
                Surface::Responses => {
                    format!(r#"{{"error":{{"code":"invalid_prompt","message":{text}}}}}"#)
                }
            };
            assert_eq!(String::from_utf8_lossy(&body), wanted);
        }
    }
}
