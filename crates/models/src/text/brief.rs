//! Which chats are prepared so soon that it is not worth another thread.

use tasks::{ChatOptions, ChatRequest, Format, Message, Prompt, ToolChoice};

/// Bytes of text in a request that is brief.
const BRIEF_MAX_BYTES: usize = 1024;
/// What a turn counts for beside its text: about what templates write around it.
const TURN_BYTES: usize = 32;

/// Whether a request has little text, and nothing that takes longer than text: grammars, adapters, biases.
pub(super) fn is_brief(request: &ChatRequest) -> bool {
    let ChatOptions {
        format,
        tools,
        tool_choice,
        one_call: _,
        stop,
        logit_bias,
        logprobs: _,
        thinking: _,
        effort: _, // a word
        lora,
        judges: _,
    } = &request.options;
    // A call that is asked for has a grammar, whatever tools there are.
    let needs_no_call = matches!(tool_choice, ToolChoice::Auto | ToolChoice::None);
    let has_no_grammar = *format == Format::Text && tools.is_empty() && needs_no_call;
    let is_plain = has_no_grammar && logit_bias.is_empty() && lora.is_none();
    let prompt = match &request.prompt {
        Prompt::Raw(text) => text.len(),
        Prompt::Messages(turns) => turns.iter().map(bytes).sum(),
    };
    let stops: usize = stop.iter().map(String::len).sum();
    is_plain && prompt + stops <= BRIEF_MAX_BYTES
}

fn bytes(turn: &Message) -> usize {
    let Message {
        role,
        content,
        images: _, // refused
        tool_calls,
        reasoning,
        tool_call_id,
        name,
    } = turn;
    let calls = tool_calls
        .iter()
        .map(|call| TURN_BYTES + call.name.len() + call.arguments.0.len());
    let others = [reasoning, tool_call_id, name].into_iter().flatten();
    TURN_BYTES
        + role.len()
        + content.len()
        + calls.sum::<usize>()
        + others.map(String::len).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use tasks::Sampling;

    use super::*;

    fn request(prompt: Prompt) -> ChatRequest {
        ChatRequest {
            prompt,
            max_tokens: None,
            sampling: Sampling::greedy(),
            window: 1 << 20,
            options: ChatOptions::default(),
        }
    }

    #[test]
    fn requests_with_little_text_are_brief() {
        let raw = |bytes: usize| request(Prompt::Raw("a".repeat(bytes)));
        assert!(is_brief(&raw(1024)));
        assert!(!is_brief(&raw(1025)));
        let turns = |count: usize, bytes: usize| {
            let turn = Message::text("user", "a".repeat(bytes));
            request(Prompt::Messages(vec![turn; count]))
        };
        assert!(is_brief(&turns(2, 400)));
        assert!(!is_brief(&turns(3, 400)));
        assert!(!is_brief(&turns(100, 0)));
    }

    #[test]
    fn what_takes_longer_than_text_is_not_brief() {
        let with = |change: fn(&mut ChatOptions)| {
            let mut request = request(Prompt::Raw("Hi".to_owned()));
            change(&mut request.options);
            is_brief(&request)
        };
        assert!(with(|options| options.one_call = true));
        assert!(with(|options| options.tool_choice = ToolChoice::None));
        assert!(!with(|options| options.tool_choice = ToolChoice::Required));
        assert!(!with(|options| options.format = Format::JsonObject));
        assert!(!with(|options| options.stop = vec!["a".repeat(2000)]));
    }
}
