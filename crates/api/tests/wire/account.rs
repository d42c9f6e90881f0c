//! Plans, quotas, limits a minute, and gates: off until they are asked for.

use axum::Router;

use crate::house::{Answer, check_refusal, request, send, settings};
use crate::stage::{ACCOUNT, on_binding, stage};

async fn ask(app: &Router, model: &str, prompt: &str) -> Answer {
    let path = format!("{ACCOUNT}/run/@cf/test/{model}");
    let input = format!(r#"{{"prompt":"{prompt}"}}"#);
    send(app, request("POST", &path, input)).await
}

#[tokio::test]
async fn everything_is_allowed_by_default() {
    let app = stage(settings());
    for model in ["paid", "private", "sees"] {
        assert_eq!(ask(&app, model, "say hi").await.status, 200, "{model}");
    }
}

#[tokio::test]
async fn the_free_plan_has_no_models_of_paying_accounts() {
    let app = stage(api::Settings {
        plan: api::Plan::Free,
        ..settings()
    });
    let told = "Model @cf/test/paid is not available on the Workers Free plan. Upgrade to access \
                this model: https://dash.cloudflare.com/?to=/:account/workers/plans";
    let text = format!("Model @cf/test/paid is not available on the Workers Free plan: {told}");
    check_refusal(&ask(&app, "paid", "say hi").await, 403, 5035, &text);
    let answer = on_binding(&app, "@cf/test/paid", "{}").await; // the plan comes before the schema
    assert!(answer.body.contains(&format!(r#""description":"{told}""#)));
    assert_eq!(ask(&app, "open", "say hi").await.status, 200);
}

#[tokio::test]
async fn the_neurons_of_a_day_come_to_an_end() {
    let app = stage(api::Settings {
        plan: api::Plan::Free,
        quota: true,
        ..settings()
    });
    // 147 tokens read and 2 or 3 written are under 1.5 neurons, so 10,000 of them need 6,700 answers.
    let mut answers = 0;
    let refused = loop {
        let stream = if answers % 2 == 0 {
            ""
        } else {
            r#","stream":true"#
        };
        let input = format!(r#"{{"prompt":"say a | say b"{stream}}}"#);
        let path = format!("{ACCOUNT}/run/@cf/test/open");
        let answer = send(&app, request("POST", &path, input)).await;
        if answer.status != 200 {
            break answer;
        }
        answers += 1;
        assert!(answers < 8000, "the quota never ends");
    };
    assert!(answers > 6700, "{answers}");
    let text = "AiError: you have used up your daily free allocation of 10,000 neurons, please \
                upgrade to Cloudflare's Workers Paid plan if you would like to continue usage.";
    check_refusal(&refused, 429, 4006, text);
    check_refusal(&ask(&app, "plain", "say a").await, 429, 4006, text);
    // What is wrong with the input is told first.
    let answer = ask(&app, "none", "say a").await;
    assert!(answer.body.contains("5007"));
}

#[tokio::test]
async fn tasks_have_their_limits_a_minute() {
    let app = stage(api::Settings {
        rate_limits: true,
        ..settings()
    });
    let text = "AiError: rate limiting: inference request per min rate reached";
    for _ in 0..20 {
        assert_eq!(ask(&app, "paid", "say a").await.status, 200);
    }
    check_refusal(&ask(&app, "paid", "say a").await, 429, 3021, text);
    for _ in 0..150 {
        assert_eq!(ask(&app, "plain", "say a").await.status, 200);
        assert_eq!(ask(&app, "open", "say a").await.status, 200);
    }
    check_refusal(&ask(&app, "able", "say a").await, 429, 3021, text);
    tokio::time::pause();
    tokio::time::advance(std::time::Duration::from_secs(61)).await;
    tokio::time::resume();
    for model in ["paid", "able"] {
        assert_eq!(ask(&app, model, "say a").await.status, 200);
    }
}

#[tokio::test]
async fn gates_open_by_an_agreement_or_not_at_all() {
    let app = stage(api::Settings {
        gates: true,
        ..settings()
    });
    let text =
        "Account not allowed for private model: This account is not allowed to access this model";
    check_refusal(&ask(&app, "private", "say hi").await, 403, 5018, text);
    let text = "Model agreement: Prior to using this model, you must submit the prompt 'agree'. By \
                submitting 'agree', you agree to the model's licence and acceptable use policy.";
    check_refusal(&ask(&app, "sees", "say hi").await, 403, 5016, text);
    assert_eq!(ask(&app, "sees", "agree").await.status, 200);
    assert_eq!(ask(&app, "sees", "say hi").await.status, 200);
}
