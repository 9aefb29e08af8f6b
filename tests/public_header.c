/* Compiled alone as C11 and as C++ with -Werror: the public header needs nothing before it. */
#include <lrqk/lrqk.h>

int main(void) { return (int)lrqk_cache_defaults().policy; }
