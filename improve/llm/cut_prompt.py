"""A server that cuts a prompt without a word: noticed by the tokens that it says it has read."""

from __future__ import annotations

from improve.config.schema import LLMConfig
from improve.domain import Prompt
from improve.llm.reply import Reply
from improve.spending.worst_case import usual_tokens

# No tokenizer makes so few tokens of English and Python: they have 3 to 5 characters each.
FAR_BELOW = 8  # characters a token
# A server that cuts fills its context to the last token, and contexts are multiples of this.
STEP = 1024
MORE = 1.1  # … and a prompt is taken for longer than such a context if it has so many times its tokens


def said(prompt: Prompt, reply: Reply, config: LLMConfig) -> str:
    """What people should know, with the setting to change; "" if the prompt was read whole, or nobody counted."""
    read, text = reply.tokens["input"], prompt.system + prompt.user
    sent = usual_tokens(text)
    full = read > 0 and read % STEP == 0 and sent > MORE * read
    if not full and not 0 < read < len(text) / FAR_BELOW:
        return ""
    least = 2 * STEP
    while least < sent + config.max_output_tokens:
        least *= 2
    return (
        f"the server read {read:,} tokens of a prompt that has about {sent:,}: it cuts what does not fit into its "
        f"context, and says nothing. Give it {least}: with Ollama num_ctx (OLLAMA_CONTEXT_LENGTH={least} ollama "
        f"serve), with llama.cpp -c {least}, with vLLM --max-model-len {least}, with LM Studio the context length"
    )
