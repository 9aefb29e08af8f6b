/* main.c - the lrqk program: finds the command, parses its flags, runs it, says what went wrong. */
#include <stdio.h>
#include <string.h>

#include "cmd.h"
#include "pages.h"

const struct command commands[] = {
  {"run", CMD_RUN, "answer a prompt", "-m MODEL [-p TEXT] [-f FILE|-] [FLAGS]",
   "The prompt is the text of -f, else what comes through a pipe, then a blank line and the text of -p, as one turn of\n"
   "a user in the model's chat template. The answer is written as it grows; a line of figures follows on the standard\n"
   "error. A first Ctrl-C stops the answer, a second one the program.\n"
   "\n"
   "  lrqk run -m model.gguf -p \"Why is the sky blue?\"\n"
   "  lrqk run -m model.gguf -f book.txt -p \"Who is the narrator?\" -n 200\n"
   "  git diff | lrqk run -m model.gguf -p \"Write a commit message.\"", cmd_run},
  {"chat", CMD_CHAT, "talk with a model", "-m MODEL [-f FILE] [-p TEXT] [FLAGS]",
   "Lines are turns of a user, answers are written as they grow; a turn costs its own tokens alone, whatever came before. A\n"
   "backslash at its end continues a line; \"\"\" begins and ends a turn of many lines; a blank before a slash makes it text.\n"
   "Ctrl-C stops an answer, twice at an empty line it leaves, as Ctrl-D does. Without a terminal the lines of the standard\n"
   "input are the turns, and nothing but answers goes to the standard output.\n"
   "\n"
   "  /help          commands                /system TEXT   another system message, from the beginning\n"
   "  /clear         from the beginning      /save FILE     write the conversation and its KV cache to FILE\n"
   "  /regen         another answer          /load FILE     go on with a conversation that was saved\n"
   "  /stats         tokens, speed, memory   /exit          leave\n"
   "\n"
   "  lrqk chat -m model.gguf -f book.txt -sys \"Answer in one sentence.\"", cmd_chat},
  {"tokenize", CMD_TOKENIZE, "turn text into token ids, or back", "-m MODEL [-p TEXT | -f FILE | < TEXT] [FLAGS]",
   "Prints one id and its text a line. With --decode the input is ids, and the output their bytes and nothing else.", cmd_tokenize},
  {"logits", CMD_LOGITS, "print what the model says about the next token", "-m MODEL (-p TEXT | --tokens IDS) [FLAGS]",
   "Prints the likeliest next tokens; with --json all logits of the last position, and the likeliest token at each.", cmd_logits},
  {"perplexity", CMD_PERPLEXITY, "measure the perplexity of a text",
   "-m MODEL -f FILE [-c N] [FLAGS]",
   "The text is cut into chunks of -c tokens; the second half of each is scored, with the first half before it.", cmd_perplexity},
  {"compare", CMD_COMPARE, "compare attention policies with full attention on a text",
   "-m MODEL -f FILE [--prefill N] [--decode N] [--policies LIST]",
   "Reads --prefill tokens, then feeds the next --decode tokens of the text under each policy, and compares what the\n"
   "model says at each step with what it says under full attention. The keys of a policy are the flags of `lrqk run`:\n"
   "\n"
   "  lrqk compare -m model.gguf -f book.txt --policies full,lrqk:active=256,lite=16,lrqk:active=512", cmd_compare},
  {"eval", CMD_EVAL, "ask for things hidden in a text under each attention policy", "TASK -m MODEL [-f FILE] [--length N,N...] [FLAGS]",
   "Makes prompts from a seed, asks, and counts right answers. What is decoded under a policy is the answer; prefill is\n"
   "exact. --out keeps one line of JSON for each sample and policy, and what it holds already is not run again.\n"
   "\n"
   "  needle              numbers hidden in a filler text, --depths of them, one question for each\n"
   "  multikey            a text of nothing but such numbers, --depths questions\n"
   "  common-words        the 10 commonest words of a list\n"
   "  variable-tracking   which variables have a value, through assignments hidden in a filler text\n"
   "\n"
   "  lrqk eval needle -m model.gguf -f book.txt --length 1K,4K --policies full,lrqk:active=128,lite=16", cmd_eval},
  {"bench", CMD_BENCH, "measure how fast prompts are read and tokens decoded", "-m MODEL [-p N] [-n N] [-d N] [-r N] [--attention LIST] [FLAGS]",
   "ppN reads a prompt of N tokens, which is the time to the first token too; tgN decodes N tokens; @ dN: after N tokens.\n"
   "Every test runs once untimed, then -r times from the same state. A time is printed only if each run gave the same\n"
   "logits, bit for bit, the rows on the device equal those in host memory, and the tokens that the last step chose are\n"
   "those of the largest scores, computed on the CPU; with all tokens active, logits must be those of full. CPU time is\n"
   "that of all threads of the program. --kernels times each kernel alone over the shapes that it has in these tests (rows x\n"
   "columns x length of sums), and says how much of the measured peak of the device it reaches.\n"
   "\n"
   "  lrqk bench -m model.gguf -p 512 -n 64 -d 0,4K --attention full,lrqk:active=256,lite=16\n"
   "  lrqk bench -m model.gguf -p 0 -n 16 -d 128K --fill random -o md\n"
   "  lrqk bench -m model.gguf --kernels=MATMUL,SCORE -d 4K", cmd_bench},
  {"profile", CMD_PROFILE, "show where the time goes, kernel by kernel", "-m MODEL -f FILE [--prefill N] [--decode N] [--trace FILE] [FLAGS]",
   "Reads --prefill tokens of the text and decodes the --decode that follow, with a timestamp after every kernel of the\n"
   "prefill, of the first decoded token and of every --every-th after it. GB/s and GFLOP/s count what a kernel has to move\n"
   "and to compute; %ceil is the time that its bound allows (memory, compute, bus, or the launch alone), of the time taken.\n"
   "\n"
   "  lrqk profile -m model.gguf -f book.txt --prefill 512 --decode 32 --trace trace.json   (for ui.perfetto.dev)\n"
   "  lrqk profile -m model.gguf -f book.txt --folded | flamegraph.pl > profile.svg", cmd_profile},
  {"profile-diff", CMD_DIFF, "show what is slower or faster in a second profile", "A.json B.json [--threshold PCT] [--json]",
   "`lrqk profile diff` is the same. Compares two files of `lrqk profile --json`, phase by phase, stage by stage and kernel by\n"
   "kernel. What is compared is the time that one decoded token takes in it, or in a prefill one layer; the medians, and how far\n"
   "the times of A and of B spread (10th to 90th percentile). Times that overlap are within the spread, whatever the medians.\n"
   "\n"
   "  lrqk profile -m model.gguf -f book.txt --json > before.json\n"
   "  lrqk profile -m model.gguf -f book.txt --json > after.json     (another build, policy or device)\n"
   "  lrqk profile diff before.json after.json", cmd_profile_diff},
  {"plan", CMD_PLAN, "count the memory and the traffic of a model and context before anything is loaded", "-m MODEL [-c N] [--vram SIZE] [FLAGS]",
   "Bytes on the device, in host memory and over the bus, as `lrqk run` then allocates and moves them; only metadata of the\n"
   "file is read. Where the budget is too small, options that were not given are lowered, in this order, until it is enough:\n"
   "dense layers to none, proxies from fp16 to int8, active tokens by halves down to 256, the rank by halves down to an eighth\n"
   "of the head size, the context. What cannot fit is an error that says what would.\n"
   "\n"
   "  lrqk plan -m model.gguf -c 128K --vram 8G\n"
   "  lrqk plan -m model.gguf -c 32K --attention full --bandwidth 448 --bus-bandwidth 24", cmd_plan},
  {"inspect", CMD_INSPECT, "show what is in a model file", "MODEL [FLAGS]", NULL, cmd_inspect},
  {"devices", CMD_DEVICES, "list the devices", "[-v] [--measure] [--json]",
   "In the order in which they are preferred; --device takes the number, or a part of the name.", cmd_devices},
  {NULL, 0, NULL, NULL, NULL, NULL},
};

static int unknown_command(struct ui *u, const char *name) {
  int code = ui_fail(u, LRQK_USAGE, "unknown command \"%s\"", name);
  const char *near = command_nearest(name);
  if (near) ui_hint(u, "did you mean `lrqk %s`?", near);
  else ui_hint(u, "`lrqk help` lists the commands");
  return code;
}

static int help(struct ui *u, const char *name) {
  struct text t = {0};
  if (name) {
    const struct command *c = command_find(name);
    if (!c) return unknown_command(u, name);
    help_command(&t, c);
  } else {
    help_overview(&t);
  }
  return out_text(u, &t);
}

static int missing_command(void) {
  struct text t = {0};
  help_short(&t);
  if (!t.failed) fputs(t.s, stderr);
  text_free(&t);
  return LRQK_USAGE;
}

static const char version[] = "lrqk " LRQK_VERSION "\n";

/* `profile diff`, two words for the eye, is profile-diff. */
static bool is_diff(int argc, char **argv, int i) { return argc > i + 1 && !strcmp(argv[i], "profile") && !strcmp(argv[i + 1], "diff"); }

static int run(struct ui *u, int argc, char **argv) {
  const char *first = argv[1];
  int skip = 2;
  if (!strcmp(first, "--version") || !strcmp(first, "version")) return out_bytes(u, version, sizeof version - 1);
  if (!strcmp(first, "--help") || !strcmp(first, "-h")) return help(u, NULL);
  if (!strcmp(first, "help")) return help(u, is_diff(argc, argv, 2) ? "profile-diff" : argc > 2 ? argv[2] : NULL);
  if (!strcmp(first, "completions")) return pages_completions(u, argc > 2 ? argv[2] : NULL);
  if (!strcmp(first, "pages")) return pages_manual(u, argc > 2 ? argv[2] : NULL);   /* for the build */
  if (is_diff(argc, argv, 1)) {
    first = "profile-diff";
    skip = 3;
  }
  const struct command *c = command_find(first);
  if (!c && first[0] == '-') {
    c = command_find("run");
    skip = 1;
  }
  if (!c) {
    for (int i = 2; i < argc; i++) u->json = u->json || !strcmp(argv[i], "--json");
    return unknown_command(u, first);
  }
  struct options o;
  int code = options_parse(&o, c, argc - skip, argv + skip, u);
  if (code) return code;
  if (o.help) return help(u, c->name);
  ui_catch_interrupt(false);
  return c->run(u, &o);
}

int main(int argc, char **argv) {
  struct ui u;
  ui_init(&u);
  return argc < 2 ? missing_command() : ui_finish(&u, run(&u, argc, argv));
}
