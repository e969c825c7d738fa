#compdef tlsfleet
# The program itself says what may follow.
_tlsfleet() {
	local -a asked found
	asked=("${(@)words[1,CURRENT-1]}")
	if [[ ${words[CURRENT]} == -* ]]; then
		asked+=("${words[CURRENT]}")
	fi
	found=("${(@f)$(env 0=zsh "${asked[@]}" --generate-bash-completion 2>/dev/null)}")
	if [[ -n ${found[1]} ]]; then
		_describe tlsfleet found
	else
		_files
	fi
}
if [[ ${funcstack[1]} == _tlsfleet ]]; then
	_tlsfleet "$@"
else
	compdef _tlsfleet tlsfleet
fi
