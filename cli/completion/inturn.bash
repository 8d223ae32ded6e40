# Completion of inturn for bash: source <(inturn completion bash)
_inturn() {
  local line
  COMPREPLY=()
  while IFS= read -r line; do
    COMPREPLY+=("${line%%$'\t'*}")
  done < <("$1" completion candidates -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
# Where inturn has no candidates, bash completes file names.
complete -o default -F _inturn inturn
