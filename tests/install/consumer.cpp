// consumer.cpp - the same from C++: options with defaults, a sampler, and a status word.
#include <lrqk/lrqk.h>

#include <cstdio>
#include <string>

int main() {
  lrqk_sampler_options opt = lrqk_sampler_defaults();
  opt.temperature = 0;
  lrqk_sampler *s = nullptr;
  if (lrqk_sampler_open(&s, &opt, 4) != LRQK_OK) return 1;
  const float logits[4] = { 0.5f, 2.0f, -1.0f, 2.0f };
  int32_t id = lrqk_sampler_choose(s, logits);
  lrqk_sampler_close(s);
  std::printf("lrqk %s, chose %d\n", LRQK_VERSION, static_cast<int>(id));
  return id == 1 && std::string(lrqk_status_kind(LRQK_MEMORY)) == "memory" ? 0 : 2;
}
