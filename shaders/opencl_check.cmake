# Compiles IN (the OpenCL text of kernel K) with CLANG, the SPEC constants at their defaults.
cmake_minimum_required(VERSION 3.20)

file(READ ${K} k)
string(REGEX MATCHALL "SPEC\\([0-9]+, *[A-Za-z0-9_]+, *[0-9]+\\)" specs "${k}")
list(TRANSFORM specs REPLACE "SPEC\\([0-9]+, *([A-Za-z0-9_]+), *([0-9]+)\\)" "-D\\1=\\2u")
execute_process(COMMAND ${CLANG} -x cl -cl-std=CL1.2 -fsyntax-only -Wall -Werror=implicit-function-declaration
                        -Xclang -finclude-default-header ${specs} ${IN} RESULT_VARIABLE rc)
if(NOT rc EQUAL 0)
  message(FATAL_ERROR "${K}: not valid as OpenCL C")
endif()
