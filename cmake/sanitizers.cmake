if(SUBQUAD_SANITIZE)
  add_compile_options(-fsanitize=${SUBQUAD_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${SUBQUAD_SANITIZE})
endif()
