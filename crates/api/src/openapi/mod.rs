//! The description of everything that is served (OpenAPI 3.1): made of the table of routes, the schema classes and the
//! catalogue's names; the envelopes and hearth's own pages are in `components.json`, and a test holds answers against
//! them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use catalog::Catalog;
use serde_json::{Map, Value, json};

use crate::App;
use crate::errors::json_body;
use crate::openai::embeddings;
use crate::routes::{self, Gives, Page, Route, Tag, Takes};
use crate::run::classes::{self, Class};

/// What the classes do not say.
const COMPONENTS: &str = include_str!("components.json");

/// `GET /hearth/openapi.json`.
pub(crate) async fn page(State(app): State<Arc<App>>) -> Response {
    let page = app
        .openapi
        .get_or_init(|| openapi(&app.catalog).to_string().into());
    json_body(StatusCode::OK, page.clone().into())
}

/// The description of the surface over a catalogue: an OpenAPI document.
pub fn openapi(catalog: &Catalog) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in routes::all() {
        // A name in braces stands for all the rest of a path here: OpenAPI has no sign for that.
        let path = route.path.replace("{*", "{");
        let operations = paths.entry(path).or_insert_with(|| json!({}));
        operations[route.method] = operation(&route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "hearth",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Workers AI on your own machine. A parameter `model` holds a whole name, slashes included. \
                            Which schemas are a model's own says `x-models`.",
            "license": {"name": "MIT OR Apache-2.0"},
        },
        "servers": [{"url": "http://127.0.0.1:7777"}],
        "security": [{"token": []}, {}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": schemas(),
        },
        "x-models": models(catalog),
    })
}

/// The names of each class.
fn models(catalog: &Catalog) -> BTreeMap<&str, Vec<&str>> {
    let mut models: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for card in catalog.cards() {
        let of_class = models.entry(&card.schema_class).or_default();
        of_class.push(&card.name);
    }
    models
}

fn input_name(class: &Class) -> String {
    format!("{}-input", class.name)
}

fn output_name(class: &Class) -> String {
    format!("{}-output", class.name)
}

fn schemas() -> Map<String, Value> {
    let mut schemas = Map::new();
    for class in classes::all() {
        schemas.insert(input_name(class), class.input_json.clone());
        schemas.insert(output_name(class), class.output_json.clone());
    }
    let any = |name: fn(&Class) -> String| -> Value {
        let all = classes::all();
        json!({"anyOf": all.map(|class| component(&name(class))).collect::<Vec<_>>()})
    };
    schemas.insert("Input".into(), any(input_name));
    schemas.insert("Output".into(), any(output_name));
    schemas.insert(
        "EmbeddingsRequest".into(),
        with_model(&embeddings::published_body()),
    );
    let others: Map<String, Value> =
        serde_json::from_str(COMPONENTS).unwrap_or_else(|error| panic!("components.json: {error}"));
    schemas.extend(others);
    schemas
}

/// A body that names the model, too.
fn with_model(body: &Value) -> Value {
    let model = json!({
        "type": "object",
        "properties": {"model": {"type": "string"}},
        "required": ["model"],
    });
    json!({"allOf": [model, body]})
}

fn component(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn operation(route: &Route) -> Value {
    let Page {
        tag,
        summary,
        takes,
        gives,
        fails,
    } = route.page;
    let mut operation = json!({"tags": [tag_name(tag)], "summary": summary});
    let parameters = parameters(route);
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if let Some(content) = request(takes) {
        operation["requestBody"] = json!({"required": true, "content": content});
    }
    let mut responses = Map::new();
    if let Some(content) = success(gives) {
        responses.insert(
            "200".into(),
            json!({"description": "The answer", "content": content}),
        );
    }
    let refusal = json!({"application/json": {"schema": component(fails)}});
    responses.insert(
        "default".into(),
        json!({"description": "A refusal", "content": refusal}),
    );
    operation["responses"] = responses.into();
    operation
}

fn tag_name(tag: Tag) -> &'static str {
    match tag {
        Tag::Rest => "REST",
        Tag::OpenAi => "OpenAI",
        Tag::Binding => "Binding",
        Tag::Gateway => "AI Gateway",
        Tag::Management => "Management",
        Tag::Session => "Session",
        Tag::Hearth => "hearth",
    }
}

/// What the path holds, and on the binding's run the header with the model's name.
fn parameters(route: &Route) -> Vec<Value> {
    let string = json!({"type": "string"});
    let names = route.path.split('/').filter_map(|part| {
        let name = part.strip_prefix('{')?.strip_suffix('}')?;
        Some(name.trim_start_matches('*'))
    });
    let mut parameters: Vec<_> = names
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": string}))
        .collect();
    if route.path.ends_with("/models/search") {
        parameters.extend(
            [
                "author",
                "task",
                "search",
                "source",
                "hide_experimental",
                "include_deprecated",
                "format",
                "page",
                "per_page",
            ]
            .map(|name| json!({"name": name, "in": "query", "schema": string})),
        );
    }
    if route.path.ends_with("/models/schema") {
        parameters
            .push(json!({"name": "model", "in": "query", "required": true, "schema": string}));
    }
    if matches!(route.page.gives, Gives::BareOutput) {
        let header = "cf-consn-model-id";
        parameters
            .push(json!({"name": header, "in": "header", "required": true, "schema": string}));
    }
    parameters
}

fn of_json(schema: &Value) -> Value {
    json!({"application/json": {"schema": schema}})
}

fn request(takes: Takes) -> Option<Value> {
    let bytes = || json!({"schema": {"type": "string", "format": "binary"}});
    Some(match takes {
        Takes::Nothing => return None,
        Takes::Input => json!({
            "application/json": {"schema": component("Input")},
            "application/octet-stream": bytes(),
            "audio/*": bytes(),
            "image/*": bytes(),
            "multipart/form-data": {"schema": {"type": "object"}},
        }),
        Takes::Json(name) => of_json(&component(name)),
        Takes::Form => json!({"multipart/form-data": {"schema": component("AssetForm")}}),
        Takes::Anything => json!({"*/*": {}}),
    })
}

fn success(gives: Gives) -> Option<Value> {
    let events = || json!({"schema": {"type": "string"}});
    let output = |schema: Value| {
        json!({
            "application/json": {"schema": schema},
            "text/event-stream": events(),
            "image/*": {"schema": {"type": "string", "format": "binary"}},
            "audio/*": {"schema": {"type": "string", "format": "binary"}},
        })
    };
    Some(match gives {
        Gives::Nothing => return None,
        Gives::Output => output(component("OutputEnvelope")),
        Gives::BareOutput => output(json!({"anyOf": [component("Output"), component("Batch")]})),
        Gives::JsonOrEvents(name) => json!({
            "application/json": {"schema": component(name)},
            "text/event-stream": events(),
        }),
        Gives::Json(name) => of_json(&component(name)),
        Gives::Text => json!({"text/plain": {"schema": {"type": "string"}}}),
    })
}
