/* templates.c - the chat templates that come along, and by what a model's own template is known.  Called by chat.c. */
#include <string.h>

#include "token/chat.h"

#define LOOP "{% for message in messages %}"
#define END "{% endfor %}"
#define PROMPT "{% if add_generation_prompt %}"
#define CHATML_TURNS LOOP "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}" END \
  PROMPT "{{ '<|im_start|>assistant\\n' }}{% endif %}"
#define MUST_ALTERNATE(turns) \
  "{% if (message['role'] == 'user') != (" turns ") %}" \
  "{{ raise_exception('after the system message, user and assistant take turns') }}{% endif %}"
#define SYSTEM_AND_TURNS \
  "{% if messages and messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] | trim %}{% set turns = messages[1:] %}" \
  "{% else %}{% set system = '' %}{% set turns = messages %}{% endif %}"

static const struct chat_template templates[] = {
  { "chatml", CHATML_TURNS },
  { "qwen", "{% if messages and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n'"
      " }}{% endif %}"
            CHATML_TURNS },
  { "llama2", SYSTEM_AND_TURNS "{% for message in turns %}" MUST_ALTERNATE("loop.index0 % 2 == 0")
              "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' }}"
              "{% if loop.first and system %}{{ '<<SYS>>\\n' + system + '\\n<</SYS>>\\n\\n' }}{% endif %}"
              "{{ message['content'] | trim + ' [/INST]' }}{% else %}{{ ' ' + message['content'] | trim + ' ' + eos_token }}{% endif %}"
                  END },
  { "llama3", "{{ bos_token }}" LOOP
              "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}" END
              PROMPT "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}" },
  { "mistral", SYSTEM_AND_TURNS "{{ bos_token }}{% for message in turns %}" MUST_ALTERNATE("loop.index0 % 2 == 0")
               "{% if message['role'] == 'user' %}{{ '[INST] ' }}{% if loop.first and system %}{{ system + '\\n\\n' }}{% endif %}"
               "{{ message['content'] + ' [/INST]' }}{% else %}{{ ' ' + message['content'] | trim + eos_token }}{% endif %}" END },
  { "phi3", LOOP "{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}"
      END PROMPT "{{ '<|assistant|>\\n' }}{% endif %}" },
  { "gemma", SYSTEM_AND_TURNS "{{ bos_token }}{% for message in turns %}" MUST_ALTERNATE("loop.index0 % 2 == 0")
             "{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else 'user') + '\\n' }}"
             "{% if loop.first and system %}{{ system + '\\n\\n' }}{% endif %}{{ message['content'] | trim + '<end_of_turn>\\n' }}" END
             PROMPT "{{ '<start_of_turn>model\\n' }}{% endif %}" },
  { "zephyr", LOOP "{{ '<|' + message['role'] + '|>\\n' + message['content'] + eos_token + '\\n' }}"
      END PROMPT "{{ '<|assistant|>\\n' }}{% endif %}" },
};

const struct chat_template *chat_template(size_t i) { return i < sizeof templates / sizeof *templates ? &templates[i] : NULL; }

/* A template is of the first family of which it has all marks. */
static const struct { const char *name, *marks[3]; } families[] = {
  { "llama3", { "<|start_header_id|>" } },
  { "qwen", { "<|im_start|>", "You are Qwen" } },
  { "qwen", { "<|im_start|>", "You are a helpful assistant" } },
  { "qwen", { "<|im_start|>", "enable_thinking" } },
  { "chatml", { "<|im_start|>" } },
  { "gemma", { "<start_of_turn>" } },
  { "phi3", { "<|assistant|>", "<|end|>" } },
  { "llama2", { "[INST]", "<<SYS>>" } },
  { "mistral", { "[INST]" } },
  { "zephyr", { "<|user|>", "<|assistant|>" } },
  { "zephyr", { "<|assistant|>", "eos_token" } },
};

const char *chat_recognise(const char *text, size_t len) {
  for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
    bool all = true;
    for (int k = 0; k < 3 && families[i].marks[k]; k++) all = all && memmem(text, len, families[i].marks[k], strlen(families[i].marks[k]));
    if (all) return families[i].name;
  }
  return "custom";
}
