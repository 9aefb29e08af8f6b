# IN -> OUT: what stands between the braces or after the equals sign of a C initialiser.  SPIR-V (.spv) becomes words,
# anything else a string literal.
cmake_minimum_required(VERSION 3.20)

if(IN MATCHES "\\.spv$")
  file(READ ${IN} t HEX)
  string(REGEX REPLACE "(..)(..)(..)(..)" "0x\\4\\3\\2\\1," t "${t}")
  string(REGEX REPLACE "(0x[^,]*,0x[^,]*,0x[^,]*,0x[^,]*,0x[^,]*,0x[^,]*,0x[^,]*,0x[^,]*,0x[^,]*,0x[^,]*,)" "\\1\n" t "${t}")
else()
  file(READ ${IN} t)
  string(REPLACE "\\" "\\\\" t "${t}")
  string(REPLACE "\"" "\\\"" t "${t}")
  string(REPLACE "\n" "\\n\"\n\"" t "${t}")
  set(t "\"${t}\"\n")
endif()
file(WRITE ${OUT} "${t}")
