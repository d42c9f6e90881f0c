//! Every route that is served, each with what its description says of it: the router and `openapi` are both made of
//! this table, so that nothing is served which is not described.

use std::sync::Arc;

use axum::extract::Request;
use axum::handler::Handler;
use axum::response::{IntoResponse, Response};
use axum::routing::{self, MethodRouter};

use crate::binding::{inference, realtime, session};
use crate::errors::Denial;
use crate::gateway::service;
use crate::manage::{finetunes, markdown, messages, models, rags, task_rows, upload, usage};
use crate::openai::{chat, embeddings, responses};
use crate::run::rest;
use crate::{App, about, gateway, openapi, residents};

/// A route.
pub(crate) struct Route {
    /// In lower case, as descriptions have it.
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) handler: MethodRouter<Arc<App>>,
    pub(crate) page: Page,
}

/// What is said of a route.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page {
    pub(crate) tag: Tag,
    pub(crate) summary: &'static str,
    pub(crate) takes: Takes,
    pub(crate) gives: Gives,
    /// The component that a refusal is.
    pub(crate) fails: &'static str,
}

/// The surfaces.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Tag {
    Rest,
    OpenAi,
    Binding,
    Gateway,
    Management,
    /// What development tools ask before they use a binding.
    Session,
    Hearth,
}

/// A request's body.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Takes {
    Nothing,
    /// A model's input: JSON, bytes or a form.
    Input,
    /// JSON of a component.
    Json(&'static str),
    /// A form with a file.
    Form,
    /// Whatever it is, it is passed over.
    Anything,
}

/// The body of a success.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Gives {
    /// A model's output in the service's envelope; streams, pictures and sound as they are.
    Output,
    /// The same without the envelope.
    BareOutput,
    /// JSON of a component, or a stream where one was asked for.
    JsonOrEvents(&'static str),
    /// JSON of a component.
    Json(&'static str),
    Text,
    /// There are no successes.
    Nothing,
}

fn get<H: Handler<T, Arc<App>>, T: 'static>(path: &'static str, handler: H, page: Page) -> Route {
    Route {
        method: "get",
        path,
        handler: routing::get(handler),
        page,
    }
}

fn post<H: Handler<T, Arc<App>>, T: 'static>(path: &'static str, handler: H, page: Page) -> Route {
    Route {
        method: "post",
        path,
        handler: routing::post(handler),
        page,
    }
}

/// All routes.
pub(crate) fn all() -> Vec<Route> {
    let parts = [
        inference_routes(),
        binding_routes(),
        gateway_routes(),
        management_routes(),
        session_routes(),
        own_routes(),
    ];
    parts.into_iter().flatten().collect()
}

fn inference_routes() -> Vec<Route> {
    let rest = |summary, takes| Page {
        tag: Tag::Rest,
        summary,
        takes,
        gives: Gives::Output,
        fails: "InferenceError",
    };
    let openai = |summary, takes, gives, fails| Page {
        tag: Tag::OpenAi,
        summary,
        takes: Takes::Json(takes),
        gives,
        fails,
    };
    vec![
        post(
            "/client/v4/accounts/{account}/ai/run/{*model}",
            rest::run,
            rest("Ask a model", Takes::Input),
        ),
        post(
            "/client/v4/accounts/{account}/ai/run",
            rest::unified,
            rest("Ask the model that the body names", Takes::Json("Unified")),
        ),
        post(
            "/client/v4/accounts/{account}/ai/v1/chat/completions",
            chat::complete,
            openai(
                "Complete a chat in OpenAI's form",
                "ChatRequest",
                Gives::JsonOrEvents("ChatCompletion"),
                "InferenceError",
            ),
        ),
        post(
            "/client/v4/accounts/{account}/ai/v1/embeddings",
            embeddings::embeddings,
            openai(
                "Embed texts in OpenAI's form",
                "EmbeddingsRequest",
                Gives::Json("EmbeddingsList"),
                "InferenceError",
            ),
        ),
        post(
            "/client/v4/accounts/{account}/ai/v1/responses",
            responses::respond,
            openai(
                "Answer in the form of OpenAI's Responses, of gpt-oss only",
                "ResponsesRequest",
                Gives::Json("gpt-oss-output"),
                "PromptError",
            ),
        ),
        post(
            "/client/v4/accounts/{account}/ai/v1/messages",
            messages::refuse,
            openai(
                "Anthropic's form, which every model of the service refuses",
                "MessagesRequest",
                Gives::Nothing,
                "MessagesError",
            ),
        ),
        Route {
            handler: routing::any(wrong_method),
            ..get(
                "/client/v4/accounts/{account}/ai/v1/models",
                wrong_method,
                Page {
                    tag: Tag::OpenAi,
                    summary: "OpenAI's list of models, which the service refuses",
                    takes: Takes::Nothing,
                    gives: Gives::Nothing,
                    fails: "ApiError",
                },
            )
        },
    ]
}

#[allow(clippy::too_many_lines)] // a table
fn binding_routes() -> Vec<Route> {
    let page = |summary, takes, gives| Page {
        tag: Tag::Binding,
        summary,
        takes,
        gives,
        fails: "NamedError",
    };
    let inputs = Takes::Json("BindingRequest");
    let log = Page {
        fails: "ServiceError",
        ..page(
            "env.AI.gateway(id).getLog: there are no logs",
            Takes::Nothing,
            Gives::Nothing,
        )
    };
    vec![
        post(
            "/run",
            inference::run,
            page("env.AI.run", inputs, Gives::BareOutput),
        ),
        get(
            "/run",
            realtime::run,
            page(
                "env.AI.run with a WebSocket, which is refused",
                Takes::Nothing,
                Gives::Nothing,
            ),
        ),
        post(
            "/ai-gateway/run",
            inference::run,
            page("env.AI.run through a gateway", inputs, Gives::BareOutput),
        ),
        get(
            "/ai-api/models/search",
            models::search,
            page("env.AI.models", Takes::Nothing, Gives::Json("ModelRows")),
        ),
        post(
            "/to-everything/markdown/transformer",
            markdown::convert,
            Page {
                fails: "ApiError",
                ..page(
                    "env.AI.toMarkdown, which is refused",
                    Takes::Anything,
                    Gives::Nothing,
                )
            },
        ),
        get(
            "/to-everything/markdown/supported",
            markdown::supported,
            page(
                "Kinds of files for toMarkdown: none",
                Takes::Nothing,
                Gives::Json("Success"),
            ),
        ),
        get(
            "/autorag/rags",
            rags::list,
            page(
                "env.AI.autorag().list: none",
                Takes::Nothing,
                Gives::Json("Success"),
            ),
        ),
        post(
            "/autorag/rags/{rag}/search",
            rags::ask,
            Page {
                fails: "ServiceError",
                ..page(
                    "env.AI.autorag(id).search: not found",
                    Takes::Anything,
                    Gives::Nothing,
                )
            },
        ),
        post(
            "/autorag/rags/{rag}/ai-search",
            rags::ask,
            Page {
                fails: "ServiceError",
                ..page(
                    "env.AI.autorag(id).aiSearch: not found",
                    Takes::Anything,
                    Gives::Nothing,
                )
            },
        ),
        get(
            "/ai-gateway/gateways/{gateway}/url/{provider}",
            service::url,
            page(
                "env.AI.gateway(id).getUrl",
                Takes::Nothing,
                Gives::Json("GatewayUrl"),
            ),
        ),
        get(
            "/ai-gateway/gateways/{gateway}/logs/{log}",
            service::log,
            log,
        ),
        Route {
            method: "patch",
            path: "/ai-gateway/gateways/{gateway}/logs/{log}",
            handler: routing::patch(service::log),
            page: Page {
                summary: "env.AI.gateway(id).patchLog: there are no logs",
                takes: Takes::Anything,
                ..log
            },
        },
        post(
            "/ai-gateway/universal/run/{gateway}",
            gateway::universal,
            Page {
                fails: "GatewayError",
                ..page(
                    "env.AI.gateway(id).run, which is refused",
                    Takes::Anything,
                    Gives::Nothing,
                )
            },
        ),
    ]
}

fn gateway_routes() -> Vec<Route> {
    let page = |summary, takes, gives, fails| Page {
        tag: Tag::Gateway,
        summary,
        takes,
        gives,
        fails,
    };
    let run = page(
        "Ask a model through a gateway",
        Takes::Input,
        Gives::Output,
        "NamedError",
    );
    let chat = page(
        "Complete a chat in OpenAI's form through a gateway",
        Takes::Json("ChatRequest"),
        Gives::JsonOrEvents("ChatCompletion"),
        "NamedError",
    );
    let refused = |summary| page(summary, Takes::Anything, Gives::Nothing, "GatewayError");
    let universal = refused("A universal request, which is refused");
    vec![
        post(
            "/v1/{account}/{gateway}/workers-ai/{*model}",
            gateway::run,
            run,
        ),
        post(
            "/v1/{account}/{gateway}/workers-ai/run/{*model}",
            gateway::run,
            run,
        ),
        post(
            "/v1/{account}/{gateway}/workers-ai/v1/chat/completions",
            gateway::chat,
            chat,
        ),
        post(
            "/v1/{account}/{gateway}/compat/chat/completions",
            gateway::chat,
            chat,
        ),
        post(
            "/v1/{account}/{gateway}/workers-ai/v1/embeddings",
            gateway::embeddings,
            page(
                "Embed texts in OpenAI's form through a gateway",
                Takes::Json("EmbeddingsRequest"),
                Gives::Json("EmbeddingsList"),
                "NamedError",
            ),
        ),
        post("/v1/{account}/{gateway}", gateway::universal, universal),
        post("/v1/{account}/{gateway}/", gateway::universal, universal),
        post(
            "/v1/{account}/{gateway}/{provider}/{*path}",
            gateway::provider,
            refused("Other providers, which are refused"),
        ),
    ]
}

fn management_routes() -> Vec<Route> {
    let page = |summary, takes, gives| Page {
        tag: Tag::Management,
        summary,
        takes,
        gives,
        fails: "ApiError",
    };
    let none = Takes::Nothing;
    let success = Gives::Json("Success");
    vec![
        get(
            "/client/v4/accounts/{account}/ai/models/search",
            models::search,
            page("Search the catalogue", none, Gives::Json("ModelRows")),
        ),
        get(
            "/client/v4/accounts/{account}/ai/models/schema",
            models::schema,
            page("The schemas of a model", none, success),
        ),
        get(
            "/client/v4/accounts/{account}/ai/tasks/search",
            task_rows::tasks,
            page("The tasks of the catalogue", none, success),
        ),
        get(
            "/client/v4/accounts/{account}/ai/authors/search",
            task_rows::authors,
            page("The authors of the catalogue", none, success),
        ),
        get(
            "/client/v4/accounts/{account}/ai/finetunes",
            finetunes::list,
            page("The fine-tunes of this server", none, success),
        ),
        post(
            "/client/v4/accounts/{account}/ai/finetunes",
            finetunes::create,
            page("Create a fine-tune", Takes::Json("NewFinetune"), success),
        ),
        get(
            "/client/v4/accounts/{account}/ai/finetunes/public",
            finetunes::public,
            page("Public fine-tunes", none, success),
        ),
        post(
            "/client/v4/accounts/{account}/ai/finetunes/{finetune}/finetune-assets",
            upload::asset,
            page("Upload a file of a fine-tune", Takes::Form, success),
        ),
        post(
            "/client/v4/accounts/{account}/ai/tomarkdown",
            markdown::convert,
            page(
                "Convert files to Markdown, which is refused",
                Takes::Anything,
                Gives::Nothing,
            ),
        ),
        get(
            "/client/v4/accounts/{account}/ai/tomarkdown/supported",
            markdown::supported,
            page("Kinds of files for Markdown: none", none, success),
        ),
    ]
}

fn session_routes() -> Vec<Route> {
    let page = |summary, gives| Page {
        tag: Tag::Session,
        summary,
        takes: Takes::Nothing,
        gives,
        fails: "ApiError",
    };
    vec![
        get(
            session::EXCHANGE,
            session::exchange,
            page("The second step of a session", Gives::Json("Exchange")),
        ),
        post(
            session::PREWARM,
            session::prewarm,
            Page {
                takes: Takes::Anything,
                ..page("The third step of a session", Gives::Json("Success"))
            },
        ),
        get(
            "/client/v4/accounts/{account}/workers/subdomain",
            session::subdomain,
            page("The account's subdomain", Gives::Json("Success")),
        ),
        get(
            "/client/v4/accounts/{account}/workers/subdomain/edge-preview",
            session::edge_preview,
            page("The first step of a session", Gives::Json("Success")),
        ),
        post(
            "/client/v4/accounts/{account}/workers/scripts/{name}/edge-preview",
            session::upload,
            Page {
                takes: Takes::Anything,
                ..page("The last step of a session", Gives::Json("Success"))
            },
        ),
    ]
}

fn own_routes() -> Vec<Route> {
    let page = |summary, gives| Page {
        tag: Tag::Hearth,
        summary,
        takes: Takes::Nothing,
        gives,
        fails: "OwnError",
    };
    vec![
        get(
            "/",
            about::version,
            page("What this server is", Gives::Text),
        ),
        get(
            "/hearth/ps",
            residents::list,
            page("The models that are loaded", Gives::Json("Residents")),
        ),
        post(
            "/hearth/stop",
            residents::stop,
            Page {
                takes: Takes::Json("Stop"),
                ..page("Unload a model", Gives::Json("Stopped"))
            },
        ),
        get(
            "/hearth/models",
            about::models,
            page("Every name, and what serves it here", Gives::Json("Names")),
        ),
        get(
            "/hearth/usage",
            usage::page,
            Page {
                fails: "ApiError",
                ..page("What was used, by day and model", Gives::Json("Usage"))
            },
        ),
        get(
            "/hearth/openapi.json",
            openapi::page,
            page("This description", Gives::Json("Description")),
        ),
    ]
}

/// A path that is none.
pub(crate) async fn no_route(request: Request) -> Response {
    Denial::NoRoute(request.uri().path().into()).into_response()
}

/// A path that another method has.
pub(crate) async fn wrong_method(request: Request) -> Response {
    Denial::WrongMethod(request.method().clone()).into_response()
}
