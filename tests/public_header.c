/* Compiled as C11 and as C++ with -Werror behind each public header in turn: none needs anything before it. */
#include <lrqk/lrqk.h>

int main(void) { return (int)lrqk_cache_defaults().policy; }
