#compdef inturn
# Completion of inturn for zsh, after compinit: source <(inturn completion zsh)
_inturn() {
  local -a found
  local line
  while IFS= read -r line; do
    found+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
  done < <("$words[1]" completion candidates -- "${(@)words[2,CURRENT]}" 2>/dev/null)
  if (( $#found )); then
    _describe 'inturn' found
  else
    _files
  fi
}
compdef _inturn inturn
