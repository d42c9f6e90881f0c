//! The surfaces of the service: the same inference, dressed differently.

/// Where a request came in, and so how its answer looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Surface {
    /// `/client/v4/accounts/{account}/ai/run`: JSON in an envelope.
    Rest,
    /// What a Worker's `env.AI` asks: JSON bare, errors with a name.
    Binding,
    /// `/ai/v1/chat/completions` and `/ai/v1/embeddings`: JSON bare, errors as on the REST surface.
    OpenAi,
    /// A gateway's path of a model: JSON in an envelope, errors as the binding has them.
    Gateway,
    /// A gateway's paths of OpenAI's dialect: JSON bare, errors as the binding has them.
    GatewayOpenAi,
    /// `/ai/v1/responses`: JSON bare, errors in a form of OpenAI's.
    Responses,
}
