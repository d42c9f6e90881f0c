//! JSON that passes through: tool parameters, schemas, arguments.

/// JSON as text. Whoever makes one has checked that it is JSON; whoever needs to look inside parses
/// it. Here it is opaque, so that these words need no JSON library.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Json(pub String);
